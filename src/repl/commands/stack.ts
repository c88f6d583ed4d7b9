/** stack, telescope: words of memory with what they point to. */
import { gva } from "../../dsl/nouns.ts";
import { linear, linearStack } from "../../dsl/modes.ts";
import type { Answer } from "../command.ts";
import { follow, stackLines, type StackSlot } from "../render/stack.ts";
import type { Session } from "../session.ts";
import { registersOf, symbolAt, unsigned, vcpuOf } from "./selected.ts";
import { evaluateAddress, evaluateCount, namesFor, splitExpressions } from "./values.ts";

/** `stack [COUNT]`: from the stack pointer. */
export async function stack(session: Session, rest: string): Promise<Answer> {
  const count = rest === "" ? 8 : await evaluateCount(session, rest, "The count", 1024n);
  return await slotsAnswer(session, linearStack(await registersOf(session)), count);
}

/** `telescope [ADDRESS [COUNT]]`. */
export async function telescope(session: Session, rest: string): Promise<Answer> {
  const [address, words] = splitExpressions(rest);
  const at = address === undefined
    ? linearStack(await registersOf(session))
    : (await evaluateAddress(session, address)).at;
  const count = words === undefined ? 8 : await evaluateCount(session, words, "The count", 1024n);
  return await slotsAnswer(session, at, count);
}

async function slotsAnswer(session: Session, at: bigint, count: number): Promise<Answer> {
  const { slots, word } = await readSlots(session, at, count);
  return { text: stackLines(slots, word * 2, session.style, session.width), data: slots };
}

/** Reads `count` words from `at` and follows each; ends early where memory does. @throws {FaultError} If there is none at all. */
export async function readSlots(
  session: Session,
  at: bigint,
  count: number,
): Promise<{ slots: StackSlot[]; word: number }> {
  const registers = await registersOf(session);
  const { word } = namesFor(session, registers);
  const { memory } = vcpuOf(session);
  const read = async (address: bigint): Promise<bigint | undefined> => {
    try {
      return unsigned(await memory.read(gva(address), word));
    } catch (error) {
      if (error instanceof Error && error.name === "FaultError") return undefined;
      throw error;
    }
  };
  const symbol = (address: bigint) => symbolAt(session.vm, address);
  const pointers = (["rsp", "rbp"] as const).map((name) =>
    [name, linear(registers, "ss", registers[name])] as const
  );
  const slots: StackSlot[] = [];
  for (let i = 0; i < count; i++) {
    const address = BigInt.asUintN(64, at + BigInt(i * word));
    const value = i === 0 ? unsigned(await memory.read(gva(address), word)) : await read(address);
    if (value === undefined) break;
    slots.push({
      offset: i * word,
      address,
      value,
      symbol: symbol(value),
      // A 16-bit word is an offset in some segment: nobody knows which.
      chain: word === 2 ? [] : await follow(value, read, symbol, 0x1_0000n),
      registers: pointers.filter(([, to]) => to === address).map(([name]) => name),
    });
  }
  return { slots, word };
}
