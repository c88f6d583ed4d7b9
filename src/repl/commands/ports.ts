/** in and out: port accesses as the guest would make them. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";
import { evaluate, splitExpressions } from "./values.ts";

type PortSize = 1 | 2 | 4;

const SIZES: Readonly<Record<string, PortSize>> = { b: 1, w: 2, l: 4, d: 4, "1": 1, "2": 2, "4": 4 };

/** The size is the letter of `inb`, a format as in `in/w`, or 1. */
function sizeOf({ name, format }: Invocation): PortSize {
  // QEMU's monitor takes a letter for the form of the number too, which makes no difference here.
  const size = format.replace(/[xduoc]/g, "").replace(/^h$/, "w");
  const letter = size !== "" ? size : /[bwl]$/.exec(name)?.[0] ?? "b";
  if (Object.hasOwn(SIZES, letter)) return SIZES[letter];
  throw new InputError(`/${letter} is not a port size`, { remedy: "in/b, in/w, in/l: 1, 2, 4 bytes" });
}

async function portOf(session: Session, source: string): Promise<number> {
  const { value } = await evaluate(session, source);
  if (value >= 0n && value <= 0xffffn) return Number(value);
  throw new InputError(`${hex(value)} is not a port`, { remedy: "ports are 0 to 0xffff" });
}

/** `in PORT`, `in/w PORT`. */
export async function portIn(session: Session, invocation: Invocation): Promise<Answer> {
  const bytes = sizeOf(invocation);
  if (invocation.rest === "") throw new InputError("in needs a port", { remedy: "in 0x64, in/w 0x1f0" });
  const port = await portOf(session, invocation.rest);
  const value = await guest(session).readPort(port, bytes);
  return { text: `port ${hex(port, 4)} -> ${hex(value, bytes * 2)}\n`, data: { port, size: bytes, value } };
}

/** `out PORT VALUE`, `out/w PORT, VALUE`. */
export async function portOut(session: Session, invocation: Invocation): Promise<Answer> {
  const bytes = sizeOf(invocation);
  const [first, second] = splitExpressions(invocation.rest);
  if (second === undefined) {
    throw new InputError("out needs a port and a value", { remedy: "out 0x80, 0x55" });
  }
  const port = await portOf(session, first);
  const { value } = await evaluate(session, second);
  if (value < 0n || value >= 1n << BigInt(8 * bytes)) {
    throw new InputError(`${value} does not fit ${bytes === 1 ? "a byte" : `${bytes} bytes`}`, {
      remedy: "out/w and out/l are wider",
    });
  }
  await guest(session).writePort(port, bytes, value);
  return { text: "", data: { port, size: bytes, value } };
}
