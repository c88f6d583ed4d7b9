/** A TAP interface of Linux: frames as one reads and writes a file (Documentation/networking/tuntap.rst). */
import { ERRNO } from "../abi/errno.ts";
import { ifreq, LINUX } from "../abi/linux.ts";
import { TUNSETIFF } from "../abi/tun.ts";
import { HostError } from "./error.ts";
import { OwnedFd } from "./fd.ts";
import { errno, libc } from "./libc.ts";

/** Most bytes of a frame: the largest MTU that Linux has, and a header. */
const FRAME_BYTES = 65_549;

/** One queue of a TAP interface. */
export class Tap implements Disposable {
  readonly #file: OwnedFd;
  readonly #into = new Uint8Array(FRAME_BYTES);
  /** Why nothing comes any more: the errno that reading or writing gave; 0 while all is well. */
  failed = 0;

  /**
   * Takes interface `name`; it is made, and goes again with this object, if there is none.
   *
   * @param name At most 15 bytes.
   * @throws {HostError} If it may not be taken, or is taken already.
   */
  constructor(name: string) {
    const bytes = new TextEncoder().encode(name);
    if (bytes.length < 1 || bytes.length > 15) {
      throw new HostError(`TUNSETIFF ${name}`, ERRNO.EINVAL, {
        remedy: "An interface's name has 1 to 15 bytes.",
      });
    }
    using cleanup = new DisposableStack();
    const file = cleanup.use(OwnedFd.open("/dev/net/tun", LINUX.O_RDWR | LINUX.O_NONBLOCK));
    const request = new Uint8Array(ifreq.size);
    request.set(bytes, ifreq.offsets.ifr_name);
    new DataView(request.buffer).setUint16(ifreq.offsets.ifr_flags, LINUX.IFF_TAP | LINUX.IFF_NO_PI, true);
    file.ioctlBuffer(
      `TUNSETIFF ${name}`,
      TUNSETIFF,
      request,
      `Make it first: ip tuntap add ${name} mode tap user $USER; ip link set ${name} up.`,
    );
    cleanup.move();
    this.#file = file;
  }

  /** Sends a frame; it is lost if the interface takes none just now. */
  send(frame: Uint8Array): void {
    if (this.failed !== 0) return;
    const n = libc().write(this.#file.fd, frame as Uint8Array<ArrayBuffer>, BigInt(frame.length));
    if (n < 0) this.#judge(errno());
  }

  /** The next frame, or undefined. */
  receive(): Uint8Array | undefined {
    if (this.failed !== 0) return undefined;
    const n = Number(libc().read(this.#file.fd, this.#into, BigInt(FRAME_BYTES)));
    if (n > 0) return this.#into.slice(0, n);
    if (n < 0) this.#judge(errno());
    return undefined;
  }

  /** Lets go of the interface; doing it twice is harmless. */
  [Symbol.dispose](): void {
    this.#file.close();
  }

  /** EIO is an interface that is down, EINVAL a frame it does not take: both may pass. EBADFD: it is gone. */
  #judge(error: number): void {
    if (error === ERRNO.EBADFD || error === ERRNO.EBADF) this.failed = error;
  }
}
