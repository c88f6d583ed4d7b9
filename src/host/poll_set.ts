import { LINUX, pollfd, timespec } from "../abi/linux.ts";
import { libc } from "./libc.ts";

/** Descriptors that are waited for together, until one can be read. */
export class PollSet {
  #fds: readonly number[] = [];
  /** `struct pollfd` of each, in the same order. */
  #records = new Uint8Array(0);
  readonly #timeout = new Uint8Array(timespec.size);
  readonly #timeoutView = new DataView(this.#timeout.buffer);

  /** Waits for `fd` too. */
  add(fd: number): void {
    this.#take([...this.#fds, fd]);
  }

  /** Waits for `fd` no more. */
  delete(fd: number): void {
    this.#take(this.#fds.filter((other) => other !== fd));
  }

  /**
   * Blocks the thread until one can be read, but no longer than `ms` milliseconds, fractions of them too; a signal
   * ends it as well.
   *
   * @returns Those that can be read; empty if there is none.
   */
  wait(ms: number): readonly number[] {
    const ns = Math.max(0, Math.round(ms * 1e6));
    timespec.write(this.#timeoutView, {
      tv_sec: BigInt(Math.floor(ns / 1e9)),
      tv_nsec: BigInt(ns % 1e9),
    });
    const ready = libc().ppoll(this.#records, BigInt(this.#fds.length), this.#timeout, null);
    if (ready <= 0) return [];
    const view = new DataView(this.#records.buffer);
    return this.#fds.filter((_, i) =>
      (view.getUint16(i * pollfd.size + pollfd.offsets.revents, true) & LINUX.POLLIN) !== 0
    );
  }

  /** The same in another thread, in whole milliseconds: resolves when there is something to look at. */
  async later(ms: number): Promise<void> {
    // A copy: others may join while it is waited.
    await libc().pollLater(this.#records.slice(), BigInt(this.#fds.length), Math.ceil(ms));
  }

  #take(fds: readonly number[]): void {
    this.#fds = fds;
    this.#records = new Uint8Array(fds.length * pollfd.size);
    const view = new DataView(this.#records.buffer);
    fds.forEach((fd, i) => {
      view.setInt32(i * pollfd.size + pollfd.offsets.fd, fd, true);
      view.setUint16(i * pollfd.size + pollfd.offsets.events, LINUX.POLLIN, true);
    });
  }
}
