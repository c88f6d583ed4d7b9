import { ShellError } from "./error.ts";

/** Work that somebody waits for at the prompt, and that Ctrl-C lets go of. */
export class Foreground {
  #work: { presses: number; abandon: (reason: Error) => void } | undefined;

  /** Whether there is any. */
  get busy(): boolean {
    return this.#work !== undefined;
  }

  /** Runs work; what is inside of other work is interrupted before that. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const mine = { presses: 0, abandon: reject };
    const outer = this.#work;
    this.#work = mine;
    try {
      return await Promise.race([work(), promise]);
    } finally {
      this.#work = outer;
    }
  }

  /**
   * Ctrl-C: lets go of work at once, or if a guest runs, which is paused first, at the second press.
   *
   * @returns Whether there was any.
   */
  interrupt(running: boolean): boolean {
    const work = this.#work;
    if (!work) return false;
    work.presses++;
    if (!running) {
      work.abandon(
        new ShellError("Interrupted", "What was started may go on in the background; `quit` leaves."),
      );
    } else if (work.presses > 1) {
      work.abandon(
        new ShellError(
          "Interrupted; the guest does not answer yet",
          "`quit` (or Ctrl-D) leaves and closes it.",
        ),
      );
    }
    return true;
  }
}
