/** A Unix domain socket that others connect to. */
import { LINUX } from "../abi/linux.ts";
import { OwnedFd } from "./fd.ts";
import { check, libc } from "./libc.ts";
import { HostStream, unixAddress } from "./stream.ts";

/** Connections that may wait to be accepted. */
const BACKLOG = 16;
/** Only its owner may connect. */
const MODE = 0o600;

/** A listening socket; its path is removed with it. */
export class HostListener implements Disposable {
  /** Its path. */
  readonly path: string;
  readonly #file: OwnedFd;

  /**
   * Makes the socket and listens.
   *
   * @param path At most 107 bytes; nothing may be there.
   * @throws {HostError} If it can't be made.
   */
  constructor(path: string) {
    this.path = path;
    const address = unixAddress("bind", path);
    const type = LINUX.SOCK_STREAM | LINUX.SOCK_CLOEXEC | LINUX.SOCK_NONBLOCK;
    using cleanup = new DisposableStack();
    this.#file = cleanup.use(new OwnedFd(check(`socket for ${path}`, libc().socket(LINUX.AF_UNIX, type, 0))));
    const { fd } = this.#file;
    check(
      `bind ${path}`,
      libc().bind(fd, address, address.length),
      "Remove what is there, or take another path.",
    );
    cleanup.defer(() => Deno.removeSync(path));
    // Nobody is let in before it listens.
    Deno.chmodSync(path, MODE);
    check(`listen ${path}`, libc().listen(fd, BACKLOG));
    cleanup.move();
  }

  /** A connection that was made, or undefined. Never waits. */
  accept(): HostStream | undefined {
    const fd = libc().accept4(this.#file.fd, null, null, LINUX.SOCK_CLOEXEC | LINUX.SOCK_NONBLOCK);
    return fd < 0 ? undefined : HostStream.of(new OwnedFd(fd), this.path);
  }

  /** Closes it and removes its path; doing it twice is harmless. */
  [Symbol.dispose](): void {
    if (this.#file.fd < 0) return;
    this.#file.close();
    try {
      Deno.removeSync(this.path);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}
