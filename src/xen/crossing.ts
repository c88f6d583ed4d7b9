/**
 * Getting a vCPU of an HVM or PVH guest behind an instruction that a single step does not get it behind: one that Xen
 * finishes itself (emulated.ts), or whose access is answered here. Two bytes behind it, OUT to a port of this device
 * model's, bring the vCPU back. None of these instructions branches.
 */

import type { MaybePromise } from "../vm/backend.ts";
import type { VmExit } from "../vm/exit.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import { type Bitness, bitness, linearRip } from "../x86/mode.ts";
import { walk } from "../x86/paging.ts";
import type { Memory } from "./requests.ts";

/** Free on a PC, as its neighbours are; the debugger's own breakpoints use another one. */
export const CROSSING_PORT = 0xef;
/** OUT imm8, AL (SDM vol. 2B). */
const PATCH = Uint8Array.of(0xe6, CROSSING_PORT);
const LENGTH = BigInt(PATCH.length);
/** The longest instruction (SDM vol. 2A, 2.3.11). */
const LONGEST = 15;
/** A vCPU of a busy host may wait that long for its turn. */
const LIMIT_MS = 2000;

/** How many bytes the instruction has that `code` starts with. */
export type InstructionLength = (code: Uint8Array, bits: Bitness) => MaybePromise<number>;

/** What a crossing needs of the vCPU. */
export interface CrossingParts {
  readonly memory: Memory;
  readonly lengthOf: InstructionLength;
  registers(): Registers;
  setRip(rip: bigint): void;
  /** Lets the domain go until the vCPU stops, at most so many milliseconds. */
  runOn(ms: number): VmExit | undefined;
  /** Counts the access as answered, so that the next step is the next instruction. */
  settle(): void;
}

/**
 * Runs the instruction under RIP.
 *
 * @returns Undefined once the vCPU stands behind it; else what came in the middle of it.
 */
export function cross(parts: CrossingParts): MaybePromise<VmExit | undefined> {
  const registers = parts.registers();
  const read = (gpa: bigint, into: Uint8Array) => parts.memory.read(gpa, into);
  const placeOf = (linear: bigint): bigint | undefined => {
    const found = walk(registers, linear, read);
    return found instanceof Promise || !found.ok ? undefined : found.gpa;
  };
  const at = linearRip(registers);
  const code = new Uint8Array(LONGEST);
  const length = readCode(at, code, placeOf, read);
  return then(parts.lengthOf(code.subarray(0, length), bitness(registers)), (bytes) => {
    const next = registers.rip + BigInt(bytes);
    const places = [0n, 1n].map((i) => placeOf(at + BigInt(bytes) + i));
    if (places.includes(undefined)) {
      return { kind: "unsupported", reason: "what lies behind the instruction is not mapped" };
    }
    const own = places.map((place) => {
      const byte = new Uint8Array(1);
      read(place!, byte);
      return byte;
    });
    places.forEach((place, i) => {
      parts.memory.patched?.(place!, PATCH.subarray(i, i + 1), own[i]);
      parts.memory.write(place!, PATCH.subarray(i, i + 1));
    });
    try {
      return arrive(parts, next, registers.rip);
    } finally {
      places.forEach((place, i) => {
        parts.memory.write(place!, own[i]);
        parts.memory.patched?.(place!, PATCH.subarray(i, i + 1), undefined);
      });
    }
  });
}

function arrive(parts: CrossingParts, next: bigint, from: bigint): VmExit | undefined {
  const end = performance.now() + LIMIT_MS;
  for (let left = LIMIT_MS; left > 0; left = end - performance.now()) {
    const exit = parts.runOn(left);
    const { rip } = parts.registers();
    if (exit === undefined) {
      // Asleep behind HLT, and nothing woke it.
      return rip === next ? undefined : { kind: "slice" };
    }
    if (exit.kind !== "io-out" || exit.port !== CROSSING_PORT) return exit;
    parts.settle();
    if (rip !== next + LENGTH) continue;
    parts.setRip(next);
    return undefined;
  }
  return {
    kind: "unsupported",
    reason: `the instruction at 0x${from.toString(16)} did not end within ${LIMIT_MS / 1000} s`,
  };
}

/** Reads code page by page, as far as it is mapped; gives how many bytes that are. */
function readCode(
  at: bigint,
  code: Uint8Array,
  placeOf: (linear: bigint) => bigint | undefined,
  read: (gpa: bigint, into: Uint8Array) => void,
): number {
  for (let done = 0; done < code.length;) {
    const place = placeOf(at + BigInt(done));
    if (place === undefined) return done;
    const part = Math.min(4096 - Number(place & 0xfffn), code.length - done);
    read(place, code.subarray(done, done + part));
    done += part;
  }
  return code.length;
}
