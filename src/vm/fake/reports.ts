/** What the interpreter reports that an instruction did: the first thing of each, and only what was asked for. */
import type { ReportRange } from "../backend.ts";
import { type ReportExit, XCR0 } from "../exit.ts";
import { readControl } from "./control_registers.ts";
import type { Core } from "./core.ts";

/** What is asked for, and what the instruction in hand did of it. */
export class ReportLog {
  wanted: readonly ReportRange[] = [];
  #done: ReportExit | undefined;

  /** What the instruction did, once. */
  take(): ReportExit | undefined {
    const done = this.#done;
    this.#done = undefined;
    return done;
  }

  /** A control register was written. As on Xen, what changes nothing is not reported. */
  control(core: Core, register: number, before: bigint): void {
    const after = valueOf(core, register);
    if (after === before || !this.#wants("cr", register)) return;
    this.#done ??= {
      kind: "report",
      space: "cr",
      address: register,
      write: true,
      data: new Uint8Array(BigUint64Array.of(after).buffer),
      before: new Uint8Array(BigUint64Array.of(before).buffer),
      done: true,
    };
  }

  /** CPUID gave `answer`. */
  cpuid(leaf: number, answer: readonly number[]): void {
    if (!this.#wants("cpuid", leaf)) return;
    const data = new Uint8Array(Uint32Array.from(answer).buffer);
    this.#done ??= { kind: "report", space: "cpuid", address: leaf, write: false, data, done: true };
  }

  #wants(space: ReportRange["space"], address: number): boolean {
    const at = BigInt(address);
    return this.wanted.some((range) =>
      range.space === space && range.start <= at && at < range.start + range.length
    );
  }
}

/** A control register, or XCR0. */
export function valueOf(core: Core, register: number): bigint {
  return register === XCR0 ? core.xcr0 : readControl(core, register);
}
