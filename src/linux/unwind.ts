/** Who called whom in the kernel, by ORC (arch/x86/kernel/unwind_orc.c, `unwind_next_frame`). */
import { FaultError } from "../vm/errors.ts";
import type { Registers } from "../vm/registers.ts";
import { isCanonical } from "../x86/mode.ts";
import { FRAME_POINTER, NULL_CALL, type Orc, ORC_REG, type OrcEntry } from "./orc.ts";
import type { PagedReader } from "./paged_reader.ts";

/** One call on a kernel's stack. */
export interface KernelFrame {
  /** What RIP is in it: for callers the return address. */
  readonly rip: bigint;
  /** The same. */
  readonly address: bigint;
  /** What RSP is in it. */
  readonly stackPointer: bigint;
  /** What RBP is in it, as far as that is known. */
  readonly framePointer: bigint;
  /** Whether it did not call the one before, but was interrupted: RIP is the instruction that goes on. */
  readonly interrupted?: boolean;
}

/** The calls, from the innermost. */
export interface KernelBacktrace {
  /** At least one. */
  readonly frames: readonly KernelFrame[];
  /** Why there are no more. */
  readonly end: "outermost" | "unreadable" | "not-a-frame" | "bad-return-address" | "loop" | "limit";
  /** `end` in a sentence. */
  readonly reason: string;
}

/** What a walk starts from. */
export type StartRegisters =
  & Pick<Registers, "rip" | "rsp" | "rbp">
  & Partial<
    Pick<Registers, "r10" | "r13" | "rdi" | "rdx">
  >;

/** Where registers lie in struct pt_regs, and what IRET takes of it. */
const PT_REGS = { r13: 16, rbp: 32, r10: 56, rdx: 96, rdi: 112 } as const;
const PT_REGS_IRET = 128;
const CPL = 3n;
const MOST_FRAMES = 10_000;

/**
 * Walks a kernel's stack.
 *
 * @param start Registers of the innermost frame. `called`: its RIP is a return address, as of a sleeping task.
 */
export async function unwind(
  start: StartRegisters,
  memory: PagedReader,
  orc: Orc,
  options: { readonly limit: number; readonly called?: boolean },
): Promise<KernelBacktrace> {
  const limit = Math.max(1, Math.min(options.limit, MOST_FRAMES));
  const frames: KernelFrame[] = [];
  const seen = new Set<string>();
  let state: State = {
    ip: start.rip,
    sp: start.rsp,
    bp: start.rbp,
    exact: options.called !== true,
    registers: start,
  };
  const ended = (end: KernelBacktrace["end"], reason: string): KernelBacktrace => ({ frames, end, reason });
  try {
    for (;;) {
      frames.push({
        rip: state.ip,
        address: state.ip,
        stackPointer: state.sp,
        framePointer: state.bp,
        ...(state.exact && frames.length > 0 && { interrupted: true }),
      });
      if (frames.length >= limit) return ended("limit", `there may be more than ${limit} frames`);
      const entry = state.ip === 0n
        ? NULL_CALL
        : await orc.find(state.exact ? state.ip : state.ip - 1n) ?? FRAME_POINTER;
      if (entry.type === "end") return ended("outermost", "the stack of a kernel thread ends here");
      if (entry.type === "undefined" || entry.type === "unknown") {
        return ended("not-a-frame", `ORC does not know how the stack lies at ${hex(state.ip)}`);
      }
      const next = await step(state, entry, memory);
      if (next === undefined) {
        return ended("not-a-frame", `ORC counts from a register that is not known at ${hex(state.ip)}`);
      }
      if (next.user) return ended("outermost", `entered from user space at ${hex(next.state.ip)}`);
      state = next.state;
      if (state.ip === 0n) return ended("outermost", "the return address is 0");
      if (!isCanonical(state.ip, 57)) {
        return ended("bad-return-address", `the return address ${hex(state.ip)} is not canonical`);
      }
      // Stacks change at interrupts, so the stack pointer may go either way: but never twice the same.
      const key = `${state.ip}:${state.sp}`;
      if (seen.has(key)) return ended("loop", `the frame at ${hex(state.sp)} was there before`);
      seen.add(key);
    }
  } catch (error) {
    if (!(error instanceof FaultError)) throw error;
    return ended("unreadable", error.message);
  }
}

interface State {
  readonly ip: bigint;
  readonly sp: bigint;
  readonly bp: bigint;
  /** Whether `ip` is the next instruction, and not the one behind a call. */
  readonly exact: boolean;
  /** All registers, where they are known. */
  readonly registers: StartRegisters | undefined;
}

async function step(
  state: State,
  entry: OrcEntry,
  memory: PagedReader,
): Promise<{ state: State; user: boolean } | undefined> {
  const sp = await callerStack(state, entry, memory);
  if (sp === undefined) return undefined;
  let next: State;
  let user = false;
  if (entry.type === "call") {
    const ip = await memory.u64(wrap(sp - 8n));
    next = { ip, sp, bp: state.bp, exact: false, registers: undefined };
  } else {
    const frame = entry.type === "regs" ? sp + BigInt(PT_REGS_IRET) : sp;
    const [ip, cs, , rsp] = words(await memory.read(wrap(frame), 32));
    user = (cs & CPL) === 3n;
    const registers = entry.type === "regs" ? await savedRegisters(sp, ip, rsp, memory) : undefined;
    next = { ip, sp: rsp, bp: state.bp, exact: true, registers };
  }
  const bp = await callerBp(state, entry, sp, next, memory);
  return bp === undefined ? undefined : { state: { ...next, bp }, user };
}

async function callerStack(state: State, entry: OrcEntry, memory: PagedReader): Promise<bigint | undefined> {
  const offset = BigInt(entry.spOffset);
  switch (entry.spReg) {
    case ORC_REG.sp:
      return wrap(state.sp + offset);
    case ORC_REG.bp:
      return wrap(state.bp + offset);
    case ORC_REG.spIndirect:
      return wrap(await memory.u64(wrap(state.sp)) + offset);
    case ORC_REG.bpIndirect:
      return await memory.u64(wrap(state.bp + offset));
    case ORC_REG.r10:
      return state.registers?.r10;
    case ORC_REG.r13:
      return state.registers?.r13;
    case ORC_REG.di:
      return state.registers?.rdi;
    case ORC_REG.dx:
      return state.registers?.rdx;
    default:
      return undefined;
  }
}

async function callerBp(
  state: State,
  entry: OrcEntry,
  sp: bigint,
  next: State,
  memory: PagedReader,
): Promise<bigint | undefined> {
  switch (entry.bpReg) {
    case ORC_REG.undefined:
      return next.registers?.rbp ?? state.bp;
    case ORC_REG.previousSp:
      return await memory.u64(wrap(sp + BigInt(entry.bpOffset)));
    case ORC_REG.bp:
      return await memory.u64(wrap(state.bp + BigInt(entry.bpOffset)));
    default:
      return undefined;
  }
}

async function savedRegisters(
  at: bigint,
  rip: bigint,
  rsp: bigint,
  memory: PagedReader,
): Promise<StartRegisters> {
  const saved = words(await memory.read(at, PT_REGS_IRET));
  const value = (offset: number) => saved[offset / 8];
  return {
    rip,
    rsp,
    rbp: value(PT_REGS.rbp),
    r10: value(PT_REGS.r10),
    r13: value(PT_REGS.r13),
    rdi: value(PT_REGS.rdi),
    rdx: value(PT_REGS.rdx),
  };
}

/**
 * Where a task that does not run was switched away: struct inactive_task_frame of arch/x86/include/asm/switch_to.h
 * lies at its stack pointer. Six registers, the last of them RBP, and the return address.
 */
export async function sleepingRegisters(stackPointer: bigint, memory: PagedReader): Promise<StartRegisters> {
  const frame = words(await memory.read(stackPointer, 56));
  return { rip: frame[6], rsp: wrap(stackPointer + 56n), rbp: frame[5] };
}

function words(bytes: Uint8Array): bigint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 3 }, (_, i) => view.getBigUint64(8 * i, true));
}

function wrap(address: bigint): bigint {
  return BigInt.asUintN(64, address);
}

function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}
