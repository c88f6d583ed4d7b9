/**
 * Ctrl-C for a shell that is stuck: code that never gives the event loop a turn (`for (;;) await 0`) also keeps
 * the main thread from hearing signals, but a Worker still hears them.
 *
 * The watchdog asks the main thread at each signal; if no answer comes, it tells how to leave, and at the next
 * Ctrl-C, or after SIGTERM, SIGHUP or SIGQUIT (Ctrl-\), ends the process. Nothing is saved then: a guest of ours ends with it.
 * A script has nobody to ask: one Ctrl-C ends it.
 */
export class Watchdog implements Disposable {
  #worker: Worker;
  /** Resolves once it listens. */
  readonly ready: Promise<void>;

  /** @param whose A prompt's, or a script's. */
  constructor(whose: "prompt" | "script" = "prompt") {
    this.#worker = new Worker(new URL("./watchdog_worker.ts", import.meta.url), {
      type: "module",
      name: whose,
    });
    this.ready = new Promise((resolve) => {
      this.#worker.onmessage = ({ data }) => {
        if (data === "ready") resolve();
        else this.#worker.postMessage("alive");
      };
      this.#worker.onerror = (event) => {
        // A shell without its watchdog is a shell all the same.
        event.preventDefault();
        resolve();
      };
    });
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}
