/** mouse_move and mouse_button: the guest's PS/2 mouse, by QEMU's commands. */
import type { Mouse, MouseButton } from "../../dsl/mod.ts";
import { InputError, UnsupportedError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** The buttons of QEMU's state, lowest bit first. */
const BUTTONS: readonly MouseButton[] = ["left", "right", "middle", "side", "extra"];

/** `mouse_move DX DY [DZ]`. */
export function mouseMove(session: Session, { words }: Invocation): Answer {
  const [x, y, wheel = 0, ...more] = words.map(Number);
  if (y === undefined || more.length > 0) {
    throw new InputError("mouse_move takes counts to the right, downwards, and of the wheel", {
      remedy: "mouse_move 10 -5",
    });
  }
  const mouse = mouseOf(session);
  mouse.move(x, y, wheel);
  return told(mouse, { x, y, wheel });
}

/** `mouse_button STATE`: the buttons that are down, as bits. */
export function mouseButton(session: Session, { words }: Invocation): Answer {
  const state = Number(words[0]);
  if (words.length !== 1 || !Number.isInteger(state) || state < 0 || state >= 1 << BUTTONS.length) {
    throw new InputError("mouse_button takes the buttons that are down, as bits", {
      remedy: "mouse_button 1 holds the left one, 2 the right one, 4 the middle one, 0 none",
    });
  }
  const mouse = mouseOf(session);
  const buttons = BUTTONS.filter((_, i) => state & 1 << i);
  mouse.hold(...buttons);
  return told(mouse, { buttons });
}

function told(mouse: Mouse, data: Record<string, unknown>): Answer {
  return { text: mouse.reporting ? "" : "The guest does not listen to its mouse.", data };
}

function mouseOf(session: Session): Mouse {
  const { mouse } = guest(session);
  if (mouse !== undefined) return mouse;
  throw new UnsupportedError("mouse", "this guest has no PS/2 mouse", {
    remedy: "open it with its default devices; QEMU's own is moved by: qemu mouse_move 10 -5",
  });
}
