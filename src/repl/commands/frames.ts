/** backtrace, frame, up, down and info frame. */
import type { Backtrace } from "../../dsl/mod.ts";
import { InputError } from "../../dsl/nouns.ts";
import { bitness } from "../../dsl/modes.ts";
import type { Answer } from "../command.ts";
import { hex } from "../render/text.ts";
import type { Session } from "../session.ts";
import { guest, registersOf, symbolAt, vcpuOf } from "./selected.ts";
import { evaluate, evaluateCount } from "./values.ts";

type Frame = Backtrace["frames"][number];

/** Frames that `bt` shows unless it is given a number. */
const SHOWN = 64;

/** `backtrace [COUNT]`; a negative count shows the outermost. */
export async function backtrace(session: Session, rest: string): Promise<Answer> {
  // gdb's `bt full` shows local variables too, of which nothing is known here.
  const number = rest.replace(/^-?full\b\s*/, "");
  const asked = number === "" ? SHOWN : Number(number);
  if (!Number.isInteger(asked) || asked === 0) {
    throw new InputError(`"${rest}" is not a number of frames`, { remedy: "bt 10, bt -3" });
  }
  return await backtraceAnswer(session, await read(session, asked < 0 ? 1024 : asked), asked);
}

/** How a backtrace is shown. @param asked How many frames; negative: the outermost. */
export async function backtraceAnswer(session: Session, trace: Backtrace, asked = SHOWN): Promise<Answer> {
  const frames = asked < 0 ? trace.frames.slice(asked) : trace.frames.slice(0, asked);
  const first = asked < 0 ? Math.max(0, trace.frames.length + asked) : 0;
  const digits = await addressDigits(session);
  let text = frames.map((f, i) => `${frameLine(session, f, first + i, digits)}\n`).join("");
  const why = endOf(trace);
  if (why !== undefined) text += `${session.style.dim(`(${why})`)}\n`;
  return {
    text,
    data: {
      frames: frames.map((f, i) => frameData(session, f, first + i)),
      ...(why === undefined ? {} : { end: why }),
    },
  };
}

async function read(session: Session, limit: number): Promise<Backtrace> {
  const trace = await guest(session).backtrace({ vcpu: session.vcpu, limit });
  session.backtrace = trace;
  return trace;
}

function endOf(trace: Backtrace): string | undefined {
  return trace.end === "limit" ? undefined : trace.reason;
}

/** Digits of an address: 16 in 64-bit code, else 8. */
async function addressDigits(session: Session): Promise<number> {
  return bitness(await registersOf(session)) === 64 ? 16 : 8;
}

/** gdb's line: `#1  0x0000000000100010 in kernel_main+0x10 ()`. */
export function frameLine(session: Session, frame: Frame, index: number, digits: number): string {
  const { style } = session;
  const symbol = symbolAt(session.vm, frame.address);
  const name = symbol === undefined ? "??" : symbol;
  const mark = index === session.frame && index > 0 ? style.current(`#${index}`) : `#${index}`;
  return `${mark}${" ".repeat(Math.max(1, 4 - `#${index}`.length))}${
    style.address(hex(frame.address, digits))
  } in ${style.symbol(name)} ()`;
}

function frameData(session: Session, frame: Frame, index: number): Record<string, unknown> {
  const symbol = symbolAt(session.vm, frame.address);
  return {
    index,
    address: frame.address,
    stackPointer: frame.stackPointer,
    framePointer: frame.framePointer,
    ...(symbol === undefined ? {} : { symbol }),
  };
}

async function present(session: Session): Promise<Backtrace> {
  return session.backtrace ?? await read(session, 1024);
}

/** `frame [N]`, `up [N]`, `down [N]`: which frame `$rip`, `$rsp` and `$rbp` are of. */
export async function select(session: Session, name: string, rest: string): Promise<Answer> {
  const { frames } = await present(session);
  const n = rest === "" ? undefined : await evaluateCount(session, rest, "The number");
  let index = session.frame;
  if (name.startsWith("up")) {
    if (index === frames.length - 1) throw new InputError("Initial frame selected; you can't go up.");
    index = Math.min(frames.length - 1, index + (n ?? 1));
  } else if (name.startsWith("d")) {
    if (index === 0) throw new InputError("Bottom (innermost) frame selected; you can't go down.");
    index = Math.max(0, index - (n ?? 1));
  } else if (n !== undefined) index = n;
  const frame = frames[index];
  if (frame === undefined) {
    throw new InputError(`No frame at level ${index}.`, { remedy: `bt shows ${frames.length} of them` });
  }
  session.frame = index;
  return {
    text: `${frameLine(session, frame, index, await addressDigits(session))}\n`,
    data: frameData(session, frame, index),
  };
}

/** `info frame`. */
export async function infoFrame(session: Session): Promise<Answer> {
  const { frames } = await present(session);
  const frame = frames[session.frame];
  const caller = frames[session.frame + 1];
  const lines = [
    `Stack level ${session.frame}, at ${hex(frame.framePointer)}:`,
    ` rip = ${hex(frame.address)}${nameIn(session, frame.address)}; caller's rip = ${
      caller === undefined ? "unknown" : hex(caller.address)
    }`,
    ` stack pointer ${hex(frame.stackPointer)}, frame pointer ${hex(frame.framePointer)}`,
  ];
  return { text: lines.map((l) => `${l}\n`).join(""), data: frameData(session, frame, session.frame) };
}

function nameIn(session: Session, address: bigint): string {
  const symbol = symbolAt(session.vm, address);
  return symbol === undefined ? "" : ` in ${symbol}`;
}

/** `return [VALUE]`: as if the selected frame's function had returned, without running the rest of it. */
export async function popFrame(session: Session, rest: string): Promise<Answer> {
  const value = rest === "" ? undefined : (await evaluate(session, rest)).value;
  const trace = await read(session, session.frame + 2);
  const caller = trace.frames[session.frame + 1];
  if (caller === undefined) {
    throw new InputError("Can not force return in the outermost frame.", {
      remedy: "bt shows the frames; set $rip = ADDRESS goes anywhere",
    });
  }
  await vcpuOf(session).setRegisters({
    rip: caller.rip,
    rsp: caller.stackPointer,
    rbp: caller.framePointer,
    ...(value !== undefined && { rax: BigInt.asUintN(64, value) }),
  });
  session.frame = 0;
  const [frame] = (await read(session, SHOWN)).frames;
  return {
    text: `${frameLine(session, frame, 0, await addressDigits(session))}\n`,
    data: frameData(session, frame, 0),
  };
}
