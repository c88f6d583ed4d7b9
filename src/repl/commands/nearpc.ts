/** nearpc: the code around a place, as pwndbg has it. */
import type { Answer } from "../command.ts";
import { codeAround } from "../render/context.ts";
import { instructionData } from "../render/disassembly.ts";
import type { Session } from "../session.ts";
import { countSetting } from "./settings.ts";
import { registersOf } from "./selected.ts";
import { evaluateAddress, evaluateCount, splitExpressions } from "./values.ts";

/** Instructions at most. */
const MOST = 1024n;

/** `nearpc [ADDRESS] [COUNT]`: a number alone is the count. */
export async function nearpc(session: Session, rest: string): Promise<Answer> {
  const items = splitExpressions(rest);
  const alone = items.length === 1 && /^\d+$/.test(items[0]);
  const [address, words] = alone ? [undefined, items[0]] : items;
  const at = address === undefined ? undefined : (await evaluateAddress(session, address)).at;
  const count = words === undefined
    ? countSetting(session, "context-code")
    : await evaluateCount(session, words, "The count", MOST);
  const { text, list } = await codeAround(session, await registersOf(session), count, at);
  return { text, data: list.map(instructionData) };
}
