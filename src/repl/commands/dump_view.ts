/** hexdump. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { hexdump } from "../render/hexdump.ts";
import type { Session } from "../session.ts";
import { stateOf } from "./state.ts";
import { readPlace } from "./selected.ts";
import { evaluateAddress, evaluateCount, splitExpressions } from "./values.ts";

/** Bytes shown without a length, and at most. */
const SHOWN = 256;
const MOST = 65536n;

/** `hexdump ADDRESS [, LENGTH]`; alone it goes on where `x` or `hexdump` ended. */
export async function dumpView(session: Session, rest: string): Promise<Answer> {
  const [address, words, more] = splitExpressions(rest);
  if (more !== undefined) {
    throw new InputError("hexdump takes an address and a length", { remedy: "hexdump $rsp, 64" });
  }
  const state = stateOf(session).examine;
  const place = address === undefined
    ? { space: state.space, at: state.next }
    : await evaluateAddress(session, address);
  const length = words === undefined ? SHOWN : await evaluateCount(session, words, "The length", MOST);
  const bytes = await readPlace(session, place, length);
  state.space = place.space;
  state.next = place.at + BigInt(length);
  return {
    text: hexdump(place.at, bytes, session.style, session.width),
    data: { address: place.at, space: place.space, bytes },
  };
}
