import type { GuestMachine, Stop } from "../dsl/mod.ts";
import { GuestText } from "./guest_text.ts";

/** Where a watched guest's news go. */
export interface GuestNews {
  /** Whether the guest's colours are kept. */
  readonly colors: boolean;
  /** What the guest printed, safe to show. */
  print(text: string): void;
  /** Every stop. */
  stopped(stop: Stop): Promise<void>;
}

/** Listens to a guest's console and stops from its opening to its closing. */
export class GuestWatch implements Disposable {
  readonly #listeners = new DisposableStack();

  constructor(vm: GuestMachine, news: GuestNews) {
    const text = new GuestText(news.colors);
    this.#listeners.use(vm.console.onOutput((bytes) => news.print(text.push(bytes))));
    this.#listeners.use(vm.onNotice((notice) => news.print(`[${notice}]\n`)));
    this.#follow(vm, news).catch(() => {
      // The machine is gone; its closing tells why.
    });
  }

  async #follow(vm: GuestMachine, news: GuestNews): Promise<void> {
    for await (const stop of vm.stops()) await news.stopped(stop);
  }

  /** Stops listening to the console; the stops end with the machine. */
  [Symbol.dispose](): void {
    this.#listeners.dispose();
  }
}
