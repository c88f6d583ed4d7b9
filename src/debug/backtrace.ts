/** Who called whom, by the chain of frame pointers that compilers leave on the stack (SDM vol. 1, 6.2.4). */
import type { MaybePromise } from "../vm/backend.ts";
import { FaultError } from "../vm/errors.ts";
import type { Registers } from "../vm/registers.ts";
import { bitness, isCanonical, linear, linearRip, stackMask } from "../x86/mode.ts";

/** One call on the stack. */
export interface Frame {
  /** What RIP is in it: for callers the return address (an offset in CS outside 64-bit mode). */
  readonly rip: bigint;
  /** The same as a linear address. */
  readonly address: bigint;
  /** What RSP is in it: for callers, as it will be once the call has returned. */
  readonly stackPointer: bigint;
  /** What RBP is in it. */
  readonly framePointer: bigint;
}

/** Why there are no more frames. */
export type BacktraceEnd =
  | "outermost"
  | "unreadable"
  | "not-a-frame"
  | "bad-return-address"
  | "loop"
  | "limit";

/** Calls from the innermost. */
export interface Backtrace {
  /** At least one. */
  readonly frames: readonly Frame[];
  /** Why there are no more. */
  readonly end: BacktraceEnd;
  /** `end` in a sentence. */
  readonly reason: string;
}

/** Reads linear memory: fills `into` from `address`, at once or later. @throws {FaultError} */
export type ReadLinear = (address: bigint, into: Uint8Array) => MaybePromise<void>;

/** Most frames anyone may ask for. */
const MOST = 10_000;

/**
 * Walks the frames of the code that runs. The first caller is found even where the function has not made its
 * frame yet or has taken it down: at PUSH RBP, MOV RBP, RSP and RET. Assumes near calls.
 *
 * @param options.limit The most frames; 64 if left out, 10,000 at most.
 * @throws Whatever `read` throws, but for a FaultError, which ends the walk.
 */
export async function backtrace(
  registers: Registers,
  read: ReadLinear,
  options: { readonly limit?: number } = {},
): Promise<Backtrace> {
  const limit = Math.max(1, Math.min(options.limit ?? 64, MOST));
  return await new Walker(registers, read).walk(limit);
}

/** Where the return address and the caller's frame pointer are. */
interface Place {
  /** Offset in SS of the return address. */
  readonly returnAt: bigint;
  /** The caller's RBP, if it is still (or again) in the register. */
  readonly framePointer?: bigint;
}

class Walker {
  readonly #registers: Registers;
  readonly #read: ReadLinear;
  readonly #bits: 16 | 32 | 64;
  /** Bytes of a push. */
  readonly #word: bigint;
  readonly #mask: bigint;

  constructor(registers: Registers, read: ReadLinear) {
    this.#registers = registers;
    this.#read = read;
    this.#bits = bitness(registers);
    this.#word = BigInt(this.#bits / 8);
    this.#mask = stackMask(registers);
  }

  async walk(limit: number): Promise<Backtrace> {
    const r = this.#registers;
    const first: Frame = {
      rip: r.rip,
      address: linearRip(r),
      stackPointer: r.rsp & this.#mask,
      framePointer: r.rbp & this.#mask,
    };
    const frames = [first];
    const ended = (end: BacktraceEnd, reason: string): Backtrace => ({ frames, end, reason });
    let place = await this.#prologue(first);
    for (;;) {
      const last = frames[frames.length - 1];
      if (frames.length >= limit) return ended("limit", `there may be more than ${limit} frames`);
      if (place === undefined) {
        const fp = last.framePointer;
        if (fp === 0n) return ended("outermost", "the frame pointer is 0");
        if (fp < last.stackPointer) {
          return ended(
            frames.length === 1 ? "not-a-frame" : "loop",
            `the frame pointer ${hex(fp)} is below the stack pointer ${hex(last.stackPointer)}`,
          );
        }
        if (this.#bits === 64 && (fp & 7n) !== 0n) {
          return ended("not-a-frame", `the frame pointer ${hex(fp)} is no multiple of 8`);
        }
        place = { returnAt: fp + this.#word };
      }
      try {
        const framePointer = place.framePointer ?? await this.#load(place.returnAt - this.#word);
        const rip = await this.#load(place.returnAt);
        if (rip === 0n) return ended("outermost", "the return address is 0");
        if (this.#bits === 64 && !isCanonical(rip, 57)) {
          return ended("bad-return-address", `the return address ${hex(rip)} is not canonical`);
        }
        const stackPointer = place.returnAt + this.#word & this.#mask;
        if (stackPointer <= last.stackPointer) {
          return ended("loop", `the frame at ${hex(place.returnAt)} does not lead up the stack`);
        }
        frames.push({ rip, address: this.#code(rip), stackPointer, framePointer });
      } catch (error) {
        if (!(error instanceof FaultError)) throw error;
        return ended("unreadable", error.message);
      }
      place = undefined;
    }
  }

  /** Where things are if the innermost function's frame is not, or no longer, there. */
  async #prologue(frame: Frame): Promise<Place | undefined> {
    const code = new Uint8Array(8);
    try {
      await this.#read(frame.address, code);
    } catch (error) {
      if (error instanceof FaultError) return undefined;
      throw error;
    }
    // ENDBR64 or ENDBR32 may come first.
    const start = code[0] === 0xf3 && code[1] === 0x0f && code[2] === 0x1e && (code[3] & 0xfe) === 0xfa
      ? 4
      : 0;
    const [a, b, c] = code.subarray(start);
    const top = frame.stackPointer;
    const push = a === 0x55;
    const ret = a === 0xc3 || a === 0xc2;
    if (push || ret) return { returnAt: top, framePointer: frame.framePointer };
    // MOV (R)BP, (R)SP in both encodings: RBP has been pushed.
    const [opcode, modrm] = this.#bits === 64 && a === 0x48 ? [b, c] : [a, b];
    const move = opcode === 0x89 && modrm === 0xe5 || opcode === 0x8b && modrm === 0xec;
    if (move) return { returnAt: top + this.#word, framePointer: frame.framePointer };
    return undefined;
  }

  /** The linear address of an offset in CS. */
  #code(rip: bigint): bigint {
    return linear(this.#registers, "cs", rip);
  }

  async #load(offset: bigint): Promise<bigint> {
    const bytes = new Uint8Array(Number(this.#word));
    await this.#read(linear(this.#registers, "ss", offset & this.#mask), bytes);
    let value = 0n;
    for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
    return value;
  }
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
