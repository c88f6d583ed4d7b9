/** serial: the keyboard becomes that of the guest's console. */
import type { GuestMachine } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Session } from "../session.ts";
import { go } from "./running.ts";
import { guest } from "./selected.ts";

/** Ctrl-], telnet's escape character, which guests seldom want. */
const ESCAPE = "\x1d";

/** Most characters that wait for a guest which does not read. */
const WAITING_LIMIT = 4096;

/**
 * `serial`: every key goes to the guest's console until Ctrl-]. A paused guest runs meanwhile and is paused again;
 * one that runs in the background runs on.
 */
export async function serial(session: Session): Promise<void> {
  const vm = guest(session);
  const { keyboard } = session;
  if (keyboard === undefined) {
    throw new InputError("serial needs a keyboard: a shell that prompts at a terminal", {
      remedy: 'send "TEXT\\n" types at the console from a script',
    });
  }
  // Refused where nothing reads it.
  await vm.console.send("");
  session.print(session.style.dim("The keyboard is the guest's console's; Ctrl-] gives it back."));
  const left = Promise.withResolvers<void>();
  const typist = new Typist(vm);
  using _ = keyboard.grab((bytes) => {
    const end = bytes.indexOf(ESCAPE);
    typist.type(end < 0 ? bytes : bytes.slice(0, end));
    if (end >= 0) left.resolve();
  });
  if (vm.state === "running") {
    const stops = vm.stops();
    await Promise.race([left.promise, stops.next()]);
    await stops.return?.();
    return;
  }
  await go(session, async (guest) => {
    const stopped = guest.continue();
    await Promise.race([left.promise, stopped]);
    return vm.state === "running" ? await guest.pause() : await stopped;
  });
}

/** Types keys in their order, each once the guest took the one before. */
class Typist {
  readonly #vm: GuestMachine;
  #text = "";
  #busy = false;

  constructor(vm: GuestMachine) {
    this.#vm = vm;
  }

  type(text: string): void {
    if (this.#text.length + text.length <= WAITING_LIMIT) this.#text += text;
    if (!this.#busy) void this.#send();
  }

  async #send(): Promise<void> {
    this.#busy = true;
    try {
      while (this.#text !== "") {
        const text = this.#text;
        this.#text = "";
        await this.#vm.console.send(text);
      }
    } finally {
      this.#busy = false;
    }
  }
}
