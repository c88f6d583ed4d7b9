import { LINUX } from "../abi/linux.ts";
import { check, cString, libc } from "./libc.ts";

/** A file descriptor that belongs to this object: closed once, when it is disposed. */
export class OwnedFd implements Disposable {
  #fd: number;

  /** @param fd An open descriptor that nobody else closes. */
  constructor(fd: number) {
    this.#fd = fd;
  }

  /**
   * Opens a file or device.
   *
   * @param path Its path.
   * @param flags `O_*` flags; reading and writing when left out. `O_CLOEXEC` is always added.
   * @throws {HostError} If it can't be opened.
   */
  static open(path: string, flags: number = LINUX.O_RDWR): OwnedFd {
    return new OwnedFd(check(`open ${path}`, libc().open(cString(path), flags | LINUX.O_CLOEXEC)));
  }

  /** The descriptor's number, or -1 after it was closed. */
  get fd(): number {
    return this.#fd;
  }

  /** An ioctl with a small number (or nothing) as its argument; gives the call's own result, negative on failure. */
  tryIoctl(request: number, argument = 0): number {
    return libc().ioctl(this.#fd, request, argument);
  }

  /**
   * An ioctl with a small number (or nothing) as its argument.
   *
   * @param name The request's C name, for the error.
   * @throws {HostError} If the call fails.
   */
  ioctl(name: string, request: number, argument = 0, remedy?: string): number {
    return check(`ioctl ${name}`, libc().ioctl(this.#fd, request, argument), remedy);
  }

  /**
   * An ioctl that reads or fills a structure.
   *
   * @throws {HostError} If the call fails.
   */
  ioctlBuffer(
    name: string,
    request: number,
    argument: ArrayBufferView<ArrayBuffer>,
    remedy?: string,
  ): number {
    return check(`ioctl ${name}`, libc().ioctlBuffer(this.#fd, request, argument), remedy);
  }

  /**
   * An ioctl whose argument is a 64-bit number passed by value.
   *
   * @throws {HostError} If the call fails.
   */
  ioctlU64(name: string, request: number, argument: bigint, remedy?: string): number {
    return check(`ioctl ${name}`, libc().ioctlU64(this.#fd, request, argument), remedy);
  }

  /** Closes the descriptor; closing twice is harmless. */
  close(): void {
    if (this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    libc().close(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
