import type { AsyncLocalStorage } from "node:async_hooks";

/** What one captured line has printed. */
interface Capture {
  text: string;
  open: boolean;
}

/** Lines whose output somebody wants for himself; others may run at the same time, and print as ever. */
export class Captures {
  #storage: AsyncLocalStorage<Capture> | undefined;

  /** Runs `work`; gives what it printed, without colours. */
  async run(work: () => Promise<void>): Promise<string> {
    const { AsyncLocalStorage } = await import("node:async_hooks");
    this.#storage ??= new AsyncLocalStorage();
    const capture: Capture = { text: "", open: true };
    try {
      await this.#storage.run(capture, work);
    } finally {
      capture.open = false;
    }
    // deno-lint-ignore no-control-regex -- colours are control sequences
    return capture.text.replace(/\x1b\[[0-9;]*m/g, "");
  }

  /** Whether what runs now is captured. */
  get open(): boolean {
    // What a captured line left behind in the background prints to the terminal.
    return this.#storage?.getStore()?.open ?? false;
  }

  /** Takes text, if what runs now is captured. */
  take(text: string): boolean {
    const capture = this.#storage?.getStore();
    if (!capture?.open) return false;
    capture.text += text;
    return true;
  }
}
