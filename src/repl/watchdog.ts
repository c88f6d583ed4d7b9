/**
 * Ctrl-C for a shell that is stuck: code that never gives the event loop a turn (`for (;;) await 0`) also keeps
 * the main thread from hearing signals, but a Worker still hears them.
 *
 * The watchdog asks the main thread at each signal; if no answer comes, it tells how to leave, and at the next
 * Ctrl-C, or after SIGTERM or SIGHUP, ends the process. Nothing is saved then: a guest of ours ends with it.
 */
export class Watchdog implements Disposable {
  #worker: Worker;
  /** Resolves once it listens. */
  readonly ready: Promise<void>;

  constructor() {
    this.#worker = new Worker(new URL("./watchdog_worker.ts", import.meta.url), {
      type: "module",
      name: "watchdog",
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
