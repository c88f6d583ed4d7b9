/** keys: typing on the guest's PS/2 keyboard. */
import type { Keyboard } from "../../dsl/mod.ts";
import { InputError, UnsupportedError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** How long a full keyboard is offered the rest: the guest may stand still while the prompt waits. */
const TIMEOUT_MS = 2_000;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", b: "\b", "\\": "\\", '"': '"' };

/** `keys "TEXT"` types, `keys ctrl-alt-del` presses; several go one after the other. */
export async function keys(session: Session, { rest }: Invocation): Promise<Answer> {
  const keyboard = keyboardOf(session);
  const parts = rest.match(/"(?:[^"\\]|\\.)*"|[^\s"]+/g) ?? [];
  if (
    parts.length === 0 || parts.join("").length !== rest.replace(/\s+(?=(?:[^"]*"[^"]*")*[^"]*$)/g, "").length
  ) {
    throw new InputError("keys needs text in quotes, or keys", { remedy: 'keys "ls\\n", keys ctrl-alt-del' });
  }
  for (const part of parts) {
    if (!part.startsWith('"')) await keyboard.press(part, { timeoutMs: TIMEOUT_MS });
    else await keyboard.type(unquote(part), { timeoutMs: TIMEOUT_MS });
  }
  return { text: "", data: { keys: parts } };
}

/** `sendkey KEY-KEY... [HOLD_MS]`, as QEMU's; a guest that stands still is not waited for. */
export async function sendkey(session: Session, invocation: Invocation): Promise<Answer> {
  const [chord, hold, ...more] = invocation.words;
  if (chord === undefined || more.length > 0 || (hold !== undefined && !/^\d+$/.test(hold))) {
    throw new InputError("sendkey takes keys, joined by -", { remedy: "sendkey ctrl-alt-delete" });
  }
  if (hold === undefined || guest(session).state !== "running") {
    return await keys(session, { ...invocation, rest: chord, words: [chord] });
  }
  await keyboardOf(session).press(chord, { timeoutMs: TIMEOUT_MS, holdMs: Number(hold) });
  return { text: "", data: { keys: [chord] } };
}

function keyboardOf(session: Session): Keyboard {
  const { keyboard } = guest(session);
  if (keyboard !== undefined) return keyboard;
  throw new UnsupportedError("keys", "this guest has no PS/2 keyboard", {
    remedy: "open it with its default devices, or type on the serial console",
  });
}

function unquote(text: string): string {
  return text.slice(1, -1).replace(/\\(.)/g, (whole, letter: string) => ESCAPES[letter] ?? whole);
}
