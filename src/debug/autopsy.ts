import type { Backend, MaybePromise } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import type { Registers } from "../vm/registers.ts";
import type { Trace, TraceEntry } from "../vm/trace.ts";
import { cpuMode } from "../x86/mode.ts";
import { readLinear } from "./linear_memory.ts";
import type { HiddenMemory } from "./memory.ts";

/** What can be known after a triple fault. */
export interface Autopsy {
  /** The vector whose delivery failed last, if the hypervisor tells. */
  readonly vector?: number;
  /** The error code that vector pushes, 32 bits, if it has one and the hypervisor tells. */
  readonly errorCode?: number;
  /** The linear address of the last page fault. */
  readonly cr2: bigint;
  /** Linear address of the IDT (in real mode of the interrupt vector table). */
  readonly idtrBase: bigint;
  /** Offset of its last byte, 16 bits. */
  readonly idtrLimit: bigint;
  /** The IDT (or IVT) entries a fault would have used, with their bytes; `error` where they can't be read. */
  readonly entries: readonly {
    readonly vector: number;
    readonly address: bigint;
    readonly bytes?: Uint8Array;
    readonly error?: string;
  }[];
  /** The vCPU's registers as the triple fault left them. */
  readonly registers: Registers;
  /** The newest accesses in the trace, eight at most, oldest first. */
  readonly lastAccesses: readonly TraceEntry[];
  /** One sentence that says what is most probably wrong. */
  readonly verdict: string;
}

/** #DF, #GP, #PF: the vectors that lead to a triple fault. */
const SUSPECTS = [8, 13, 14];

/** Examines a vCPU after a triple fault (SDM vol. 3A, 6.15, interrupt 8). */
export async function autopsy(
  backend: Backend,
  vcpu: number,
  memory: HiddenMemory,
  trace: Trace,
): Promise<Autopsy> {
  const registers = await backend.vcpus[vcpu].registers();
  const exception = await pendingException(backend, vcpu);
  const mode = cpuMode(registers);
  const width = mode === "real" ? 4 : (registers.efer & 1n << 10n) !== 0n ? 16 : 8;
  const vectors = exception === undefined ? SUSPECTS : [...new Set([exception.vector, ...SUSPECTS])];
  const entries: Autopsy["entries"][number][] = [];
  for (const vector of vectors) {
    const address = registers.idtr_base + BigInt(vector * width);
    entries.push({ vector, address, ...await entry(registers, memory, vector, width) });
  }
  return {
    ...(exception && { vector: exception.vector }),
    ...(exception?.errorCode !== undefined && { errorCode: exception.errorCode }),
    cr2: registers.cr2,
    idtrBase: registers.idtr_base,
    idtrLimit: registers.idtr_limit,
    entries,
    registers,
    lastAccesses: trace.entries({ last: 8 }),
    verdict: verdict(registers, entries, width),
  };
}

async function pendingException(backend: Backend, vcpu: number) {
  try {
    return (await backend.vcpus[vcpu].events()).exception;
  } catch (error) {
    if (error instanceof UnsupportedError) return undefined;
    throw error;
  }
}

async function entry(registers: Registers, memory: HiddenMemory, vector: number, width: number) {
  if (BigInt((vector + 1) * width - 1) > registers.idtr_limit) {
    return { error: `beyond the limit 0x${registers.idtr_limit.toString(16)}` };
  }
  const bytes = new Uint8Array(width);
  try {
    const done: MaybePromise<void> = readLinear(
      registers,
      memory,
      registers.idtr_base + BigInt(vector * width),
      bytes,
    );
    await done;
    return { bytes };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

function verdict(
  registers: Registers,
  entries: readonly { vector: number; bytes?: Uint8Array; error?: string }[],
  width: number,
): string {
  if (registers.idtr_limit === 0n) return "the IDT is empty (limit 0): any exception is a triple fault";
  const unreadable = entries.find((e) => e.error !== undefined);
  if (unreadable?.error !== undefined) {
    return `the IDT entry of vector ${unreadable.vector} can't be used: ${unreadable.error}`;
  }
  // Bit 7 of a gate's type byte is P (SDM vol. 3A, 6.11).
  const absent = width === 4 ? undefined : entries.find((e) => ((e.bytes?.[5] ?? 0) & 0x80) === 0);
  if (absent !== undefined) return `the IDT entry of vector ${absent.vector} is not present`;
  return "an exception's handler could not be entered: look at its stack and code segment";
}
