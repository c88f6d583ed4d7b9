/** Typing on the guest's PS/2 keyboard. */
import type { Ps2Keyboard } from "../devices/ps2_keyboard.ts";
import { InputError, TimeoutError } from "../vm/errors.ts";

const DEFAULT_TIMEOUT_MS = 30_000;
/** How often a keyboard whose queue is full is asked again. */
const RETRY_MS = 5;
const LONGEST_HOLD_MS = 600_000;

/** A guest's keyboard: what is typed waits in it until the guest, which `continue()` makes run, has read it. */
export interface Keyboard {
  /**
   * Types text on a US keyboard: letters, digits, signs, "\n" for Enter, "\t" and "\b".
   *
   * @throws {InputError} If a character has no key; nothing is typed then.
   * @throws {TimeoutError} If the guest does not take all of it within `timeoutMs` (default 30 s).
   */
  type(text: string, options?: { timeoutMs?: number }): Promise<void>;
  /**
   * Presses keys together and lets them go: "a", "ctrl-alt-del", "shift-f1".
   *
   * @param options `holdMs` is how many milliseconds they are down, as games ask that look which keys are; default 0:
   *   the guest reads that they are let go right after that they are pressed. The last key repeats while it is held:
   *   after 500 ms 10.9 times a second, unless the guest asked for another rate.
   * @throws {InputError} If there is no such key, or `holdMs` is no time.
   * @throws {TimeoutError} If the guest does not take it within `timeoutMs` (default 30 s).
   */
  press(chord: string, options?: { timeoutMs?: number; holdMs?: number }): Promise<void>;
}

/** Offers keys to `keyboard` until it has taken them. */
export function keyboardOf(keyboard: Ps2Keyboard): Keyboard {
  const offer = async (timeoutMs: number, take: () => boolean) => {
    const end = performance.now() + timeoutMs;
    while (!take()) {
      if (performance.now() >= end) {
        throw new TimeoutError(`the guest did not take the keys within ${timeoutMs} ms`, {
          remedy: "check that the guest runs, and reads its keyboard",
        });
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  };
  return {
    async type(text, { timeoutMs = DEFAULT_TIMEOUT_MS } = {}) {
      let rest = [...text];
      await offer(timeoutMs, () => {
        rest = rest.slice(keyboard.type(rest.join("")));
        return rest.length === 0;
      });
    },
    async press(chord, { timeoutMs = DEFAULT_TIMEOUT_MS, holdMs = 0 } = {}) {
      if (!(holdMs >= 0 && holdMs <= LONGEST_HOLD_MS)) {
        throw new InputError(`keys can't be held for ${holdMs} ms`, {
          remedy: `hold them for 0 to ${LONGEST_HOLD_MS} ms`,
        });
      }
      if (holdMs === 0) return await offer(timeoutMs, () => keyboard.press(chord));
      await offer(timeoutMs, () => keyboard.hold(chord));
      await new Promise((resolve) => setTimeout(resolve, holdMs));
      await offer(timeoutMs, () => keyboard.release(chord));
    },
  };
}
