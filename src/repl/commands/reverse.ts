/** reverse-stepi and reverse-continue: back in a recorded run. */
import type { Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { go } from "./running.ts";
import { guest } from "./selected.ts";
import { evaluateCount } from "./values.ts";

/** `reverse-stepi [N]`. */
export async function reverseStep(session: Session, { rest }: Invocation): Promise<void> {
  const count = rest === "" ? 1 : await evaluateCount(session, rest, "The count");
  if (count === 0) return;
  await back(session, (vm) => vm.history.stepBack(count));
}

/** `reverse-continue`. */
export async function reverseContinue(session: Session): Promise<void> {
  await back(session, (vm) => vm.history.continueBack());
}

/** Moves, and says so where there is no further back. */
async function back(session: Session, move: Parameters<typeof go>[1]): Promise<void> {
  await go(session, move);
  const { history } = guest(session);
  if (history.position === history.start) session.print("No more reverse-execution history.\n");
}
