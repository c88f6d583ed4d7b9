/** powerdown: the guest's power button. */
import type { Answer } from "../command.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** `powerdown`. */
export function powerdown(session: Session): Answer {
  const listens = guest(session).pressPower();
  const unheard = listens === false ? "; the guest has not asked to be told" : "";
  return { text: `The power button is pressed${unheard}.\n`, data: { listens: listens ?? null } };
}
