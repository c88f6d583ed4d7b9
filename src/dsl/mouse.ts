/** Moving the guest's PS/2 mouse. */
import type { Ps2Mouse } from "../devices/ps2_mouse.ts";
import { InputError } from "../vm/errors.ts";

/** More than this in one movement is a mistake. */
const LONGEST_MOVE = 0xffff;

/** A button of a mouse. */
export type MouseButton = "left" | "right" | "middle" | "side" | "extra";

/** The bit that tells of each. */
const BUTTONS: Readonly<Record<MouseButton, number>> = { left: 1, right: 2, middle: 4, side: 8, extra: 16 };

/** A guest's mouse: what moves while the guest does not read is added up. */
export interface Mouse {
  /** Whether the guest listens: what happens while it does not is lost, as with a real one. */
  readonly reporting: boolean;
  /**
   * Moves by counts, of which the guest makes dots: `x` to the right, `y` downwards, `wheel` towards the user.
   *
   * @throws {InputError} If one is no whole number of at most 65,535 either way.
   */
  move(x: number, y: number, wheel?: number): void;
  /**
   * Holds these buttons and lets go of all others.
   *
   * @throws {InputError} If there is no such button.
   */
  hold(...buttons: readonly MouseButton[]): void;
}

/** What moves `mouse`. */
export function mouseOf(mouse: Ps2Mouse): Mouse {
  return {
    get reporting() {
      return mouse.reporting;
    },
    move(x, y, wheel = 0) {
      for (const counts of [x, y, wheel]) {
        if (Number.isInteger(counts) && Math.abs(counts) <= LONGEST_MOVE) continue;
        throw new InputError(`a mouse can't move by ${counts}`, {
          remedy: `give whole numbers from -${LONGEST_MOVE} to ${LONGEST_MOVE}`,
        });
      }
      // On the wire y grows upwards.
      mouse.move(x, -y, wheel);
    },
    hold(...buttons) {
      const bits = buttons.map((name) => {
        if (Object.hasOwn(BUTTONS, name)) return BUTTONS[name];
        throw new InputError(`a mouse has no button ${JSON.stringify(name)}`, {
          remedy: `these are there: ${Object.keys(BUTTONS).join(", ")}`,
        });
      });
      mouse.setButtons(bits.reduce((all, bit) => all | bit, 0));
    },
  };
}
