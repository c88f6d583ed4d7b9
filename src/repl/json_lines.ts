import { jsonMember } from "./json.ts";

/** Characters of a guest's output in one line. */
const CONSOLE_LIMIT = 1 << 20;

/** `--json`: one object a line, each with what the guest has printed since the last one. */
export class JsonLines {
  readonly #write: (text: string) => void;
  readonly #limit: number;
  #console = "";
  #dropped = 0;

  /** @param limit Most characters of a guest's output in one line, of which the newest are kept; 1 Mi if left out. */
  constructor(write: (text: string) => void, limit = CONSOLE_LIMIT) {
    this.#write = write;
    this.#limit = limit;
  }

  /** Keeps what the guest printed for the next line, which may be a long time off. */
  gather(text: string): void {
    this.#console += text;
    // Not at each character: cutting copies.
    if (this.#console.length > this.#limit * 1.25) this.#cut();
  }

  /** Writes a line: the object's members, `console`, and `consoleDropped` where not all of that was kept. */
  print(line: Record<string, unknown>): void {
    this.#cut();
    const console = this.#console;
    const consoleDropped = this.#dropped;
    this.#console = "";
    this.#dropped = 0;
    const whole = {
      ...line,
      ...(console === "" ? {} : { console }),
      ...(consoleDropped === 0 ? {} : { consoleDropped }),
    };
    this.#write(`${JSON.stringify(whole, (_, value) => jsonMember(value))}\n`);
  }

  #cut(): void {
    const excess = Math.max(0, this.#console.length - this.#limit);
    this.#console = this.#console.slice(excess);
    this.#dropped += excess;
  }
}
