/**
 * What a keyboard does by itself while a key is held: after a while it sends the key's make code again and again.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Keyboard", "Set Typematic Rate/Delay (Hex F3)".
 */
import type { Cancel, Timebase } from "./device_clock.ts";

/** 500 ms, then 10.9 a second: after power-on, and by "set default". */
export const DEFAULT_TYPEMATIC = 0x2b;
const MS = 1_000_000n;

/** Before a held key repeats, and between two repeats, in nanoseconds, by the parameter of command 0xf3. */
export function typematicTimes(setting: number): { readonly delay: bigint; readonly period: bigint } {
  const a = BigInt(setting & 7);
  const b = BigInt(setting >> 3 & 3);
  return {
    delay: (BigInt(setting >> 5 & 3) + 1n) * 250n * MS,
    // (8 + A) * 2^B * 0.00417 s: 30 to 2 a second.
    period: (8n + a) * (1n << b) * 4_170_000n,
  };
}

/** Repeats the key that was pressed last, until it is let go. */
export class Typematic {
  readonly #time: Timebase | undefined;
  readonly #repeat: (key: string) => void;
  #key: string | undefined;
  #cancel: Cancel | undefined;

  /** @param time Without a clock nothing repeats. @param repeat Sends the key's make code. */
  constructor(time: Timebase | undefined, repeat: (key: string) => void) {
    this.#time = time;
    this.#repeat = repeat;
  }

  /** A key went down: it repeats instead of the one before. @param setting Gives the parameter of command 0xf3. */
  press(key: string, setting: () => number): void {
    this.stop();
    const time = this.#time;
    if (time === undefined) return;
    this.#key = key;
    const next = (delay: bigint) => {
      this.#cancel = time.schedule(delay, () => {
        next(typematicTimes(setting()).period);
        this.#repeat(key);
      });
    };
    next(typematicTimes(setting()).delay);
  }

  /** A key went up: others that are still down do not go on in its place. */
  release(key: string): void {
    if (key === this.#key) this.stop();
  }

  /** Nothing repeats. */
  stop(): void {
    this.#cancel?.();
    this.#cancel = this.#key = undefined;
  }
}
