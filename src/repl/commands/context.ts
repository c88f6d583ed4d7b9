/** context: the view of everything. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { contextView } from "../render/context.ts";
import { registerData } from "../render/registers.ts";
import { REGISTER_GROUPS } from "../../dsl/nouns.ts";
import type { Session } from "../session.ts";
import { guest, registersOf } from "./selected.ts";

/** `context` shows it now; `context on` and `context off` switch it at stops. */
export async function context(session: Session, rest: string): Promise<Answer> {
  if (rest === "on" || rest === "off") {
    session.contextShown = rest === "on";
    return { text: "", data: { context: rest } };
  }
  if (rest !== "") {
    throw new InputError(`"${rest}" is not understood`, { remedy: "context, context on, context off" });
  }
  guest(session);
  const registers = await registersOf(session);
  const text = await contextView(session, registers);
  return { text, data: { registers: registerData(REGISTER_GROUPS.general, registers) } };
}

/** `layout ...`, `tui enable`, `tui disable`. */
export function layout(session: Session, rest: string): Answer {
  const on = !/^(disable|off)\b/.test(rest);
  session.contextShown = on;
  return {
    text: on ? "Registers, code, stack and backtrace are shown at each stop; `context off` ends that.\n" : "",
    data: { context: on ? "on" : "off" },
  };
}
