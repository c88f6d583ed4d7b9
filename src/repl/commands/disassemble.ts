/** disassemble: instructions of a function or a range. */
import { syntaxSetting } from "./settings.ts";
import { InputError } from "../../dsl/nouns.ts";
import type { Instruction } from "../../dsl/x86.ts";
import type { Answer, Invocation } from "../command.ts";
import { instructionData, instructionLines } from "../render/disassembly.ts";
import { hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest, linearPc, symbolAt } from "./selected.ts";
import { evaluateAddress, splitExpressions } from "./values.ts";

/** Instructions shown where no function is known. */
const SHOWN = 10;
/** Bytes of one listing at most. */
const MOST_BYTES = 1n << 20n;

interface Format {
  readonly raw: boolean;
  readonly count?: number;
}

function readFormat(format: string): Format {
  const [, mode, digits] = /^([a-z]*)(\d*)$/.exec(format) ?? [];
  if (mode === undefined || !/^[rms]*$/.test(mode)) {
    throw new InputError(`/${format} is not understood`, {
      remedy: "disassemble/r shows bytes, disassemble/20 twenty instructions",
    });
  }
  return { raw: mode.includes("r"), ...(digits === "" ? {} : { count: Number(digits) }) };
}

/** `disassemble[/r][/COUNT] [ADDRESS | START, END | START, +LENGTH]`. */
export async function disassemble(session: Session, { rest, format }: Invocation): Promise<Answer> {
  const vm = guest(session);
  const asked = readFormat(format);
  const pc = await linearPc(session);
  const items = splitExpressions(rest);
  if (items.length > 2) {
    throw new InputError("disassemble takes an address or a start and an end", {
      remedy: "disas START, +LENGTH",
    });
  }
  let from = items[0] === undefined ? pc : (await evaluateAddress(session, items[0])).at;
  let list: Instruction[];
  let within: bigint | undefined;
  let head: string;
  if (items.length === 2) {
    const end = items[1].startsWith("+")
      ? from + (await evaluateAddress(session, items[1].slice(1))).at
      : (await evaluateAddress(session, items[1])).at;
    if (end <= from) throw new InputError("The end lies before the start");
    if (end - from > MOST_BYTES) throw new InputError(`A listing covers at most ${MOST_BYTES} bytes`);
    list = (await vm.disassemble(from, {
      count: Number(end - from),
      vcpu: session.vcpu,
      syntax: syntaxSetting(session),
    })).filter((i) => i.address < end);
    head = `Dump of assembler code from ${hex(from)} to ${hex(end)}:\n`;
  } else {
    const near = vm.symbols.nearest(from);
    const known = asked.count === undefined && near !== undefined ? near : undefined;
    if (known !== undefined) {
      from -= known.offset;
      within = from;
      list = await functionBody(session, from, known.name, from + known.offset);
      head = `Dump of assembler code for function ${known.name}:\n`;
    } else {
      list = await vm.disassemble(from, {
        count: asked.count ?? SHOWN,
        vcpu: session.vcpu,
        syntax: syntaxSetting(session),
      });
      head = `Dump of assembler code at ${hex(from)}:\n`;
    }
  }
  const text = instructionLines(list, {
    style: session.style,
    pc,
    within,
    symbol: (address) => symbolAt(vm, address),
    tabs: true,
    bytes: asked.raw,
  });
  return { text: `${head}${text}End of assembler dump.\n`, data: list.map(instructionData) };
}

/** From a function's start for as long as the nearest symbol is the same; at least to `past`. */
async function functionBody(
  session: Session,
  start: bigint,
  name: string,
  past: bigint,
): Promise<Instruction[]> {
  const vm = guest(session);
  const size = vm.symbols.nearest(start)?.symbol.size;
  const most = 4096;
  const list = await vm.disassemble(start, {
    count: size === undefined || size === 0n ? 256 : Math.min(most, Number(size)),
    vcpu: session.vcpu,
    syntax: syntaxSetting(session),
  });
  if (size !== undefined && size > 0n) return list.filter((i) => i.address < start + size);
  const end = list.findIndex((i) => i.address > past && vm.symbols.nearest(i.address)?.name !== name);
  if (end >= 0) return list.slice(0, end);
  // A symbol without a size and without a neighbour: up to the return behind the place asked for.
  const last = list.findIndex((i) => i.address >= past && (i.flow === "return" || !i.valid));
  return last < 0
    ? list.slice(0, Math.max(SHOWN, list.findIndex((i) => i.address >= past) + SHOWN))
    : list.slice(0, last + 1);
}
