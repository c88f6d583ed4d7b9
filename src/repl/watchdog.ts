/**
 * Ctrl-C for a shell that is stuck: code that never gives the event loop a turn (`for (;;) await 0`) also keeps
 * the main thread from hearing signals, but a Worker still hears them.
 *
 * The watchdog asks the main thread at each signal; if no answer comes, it tells how to leave, and at the next
 * Ctrl-C, or after SIGTERM or SIGHUP, ends the process. Nothing is saved then: a guest of ours ends with it.
 */
export class Watchdog implements Disposable {
  #worker: Worker;

  constructor() {
    this.#worker = new Worker(new URL("./watchdog_worker.ts", import.meta.url), {
      type: "module",
      name: "watchdog",
    });
    this.#worker.onmessage = () => this.#worker.postMessage("alive");
    this.#worker.onerror = (event) => event.preventDefault();
  }

  /** Ends it. */
  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}
