/**
 * The probes against a small machine of our own that does what a perfect host does, and against liars: machines that
 * announce a feature and never fire, fire at the wrong place, lose an instruction, spin, or throw.
 */

import assert from "node:assert/strict";
import type { StepOptions, Traps } from "../vm/backend.ts";
import type { VmExit } from "../vm/exit.ts";
import type { Registers, RegisterValues } from "../vm/registers.ts";
import { PROBE, type ProbeMachine, type ProbeMode } from "./probe_machine.ts";
import { probeAll, PROBES } from "./probe.ts";

const RF = 1n << 16n;

/** A machine that knows the handful of instructions that probes are made of, and does all of them right. */
class Honest implements ProbeMachine {
  memory = new Uint8Array(0x1_0000);
  mode: ProbeMode = "real";
  r = { rip: 0, rax: 0, rbx: 0, rcx: 0, rdx: 0, rflags: 2n };
  traps: Traps = { hardware: [], int3: false };
  readOnly = new Set<number>();
  msrs: readonly number[] = [];
  waiting: number | undefined;
  /** Finishes the access that was reported. */
  unfinished: (() => void) | undefined;

  start(mode: ProbeMode, code: readonly number[], registers: RegisterValues = {}): void {
    this.mode = mode;
    this.r = { rip: PROBE.code, rax: 0, rbx: 0, rcx: 0, rdx: 0, rflags: 2n };
    this.traps = { hardware: [], int3: false };
    this.readOnly.clear();
    this.unfinished = undefined;
    this.waiting = undefined;
    this.poke(PROBE.code, code);
    this.setRegisters(registers);
  }
  poke(at: number, bytes: readonly number[]): void {
    this.memory.set(bytes, at);
  }
  peek(at: number): number {
    return this.memory[at];
  }
  protect(at: number, readOnly: boolean): void {
    if (readOnly) this.readOnly.add(at);
    else this.readOnly.delete(at);
  }
  setTraps(traps: Traps): void {
    this.traps = traps;
  }
  trapMsrs(indices: readonly number[]): void {
    this.msrs = indices;
  }
  interrupt(vector: number): void {
    this.waiting = vector;
  }
  nmi(): void {
    this.waiting = 2;
  }
  settle(): VmExit | undefined {
    this.unfinished?.();
    this.unfinished = undefined;
    return undefined;
  }
  registers(): Registers {
    this.settle();
    const { rflags, ...numbers } = this.r;
    const values = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, BigInt(value)]));
    return { ...values, rflags } as unknown as Registers;
  }
  /** Each slice has a whole one's worth of processor time, unless told otherwise. */
  processor = 0;
  processorMs(): number {
    return this.processor;
  }
  setRegisters({ rax, rflags }: RegisterValues): void {
    if (rax !== undefined) this.r.rax = Number(rax);
    if (rflags !== undefined) this.r.rflags = rflags;
  }
  run(): VmExit {
    this.settle();
    for (let i = 0; i < 100; i++) {
      const exit = this.one(true);
      if (exit !== undefined) return exit;
    }
    return { kind: "slice" };
  }
  step(_options?: StepOptions): VmExit {
    this.settle();
    return this.one(false) ?? { kind: "debug", exception: 1, dr6: 0xffff4ff0n, pc: BigInt(this.r.rip) };
  }

  dword(at: number): number {
    return new DataView(this.memory.buffer).getUint32(at, true);
  }

  /** One instruction; an exit if it leaves. */
  one(armed: boolean): VmExit | undefined {
    const { r, memory } = this;
    if (this.waiting !== undefined) {
      const vector = this.waiting;
      this.waiting = undefined;
      r.rip = memory[vector * 4] | (memory[vector * 4 + 1] << 8);
    }
    const [trap] = this.traps.hardware;
    const hit = trap?.access === "execute" && Number(trap.address) === r.rip;
    if (armed && hit && (r.rflags & RF) === 0n) {
      return { kind: "debug", exception: 1, dr6: 1n, pc: trap.address };
    }
    r.rflags &= ~RF;
    const at = r.rip;
    const [a, b] = memory.subarray(at);
    const next = (length: number) => void (r.rip = at + length);
    const io = (port: number, length: number): VmExit => {
      this.unfinished = () => next(length);
      return { kind: "io-out", port, size: 1, count: 1, data: Uint8Array.of(r.rax & 0xff) };
    };
    if (a === 0xff) {
      if (b === 0xc0) r.rax++;
      else r.rbx++;
      return next(2);
    }
    if (a === 0x90 || a === 0xfb || a === 0xfa) return next(1);
    if (a === 0x6a) return next(2);
    if (a === 0x9d) return next(1);
    if (a === 0xcd) return void (r.rip = memory[b * 4] | (memory[b * 4 + 1] << 8));
    if (a === 0xb0) return (r.rax = b, next(2));
    if (a === 0xb9) return (r.rcx = this.dword(at + 1), next(5));
    if (a === 0x66 && b === 0xba) return (r.rdx = memory[at + 2] | (memory[at + 3] << 8), next(4));
    if (a === 0xba) return (r.rdx = memory[at + 1] | (memory[at + 2] << 8), next(3));
    if (a === 0xee) return io(r.rdx, 1);
    if (a === 0xe6) return io(b, 2);
    if (a === 0xf4) return (next(1), { kind: "halt" });
    if (a === 0xcc) {
      if (this.traps.int3) return { kind: "debug", exception: 3, dr6: 0n, pc: BigInt(at) };
      return { kind: "shutdown" };
    }
    if (a === 0x88 || a === 0x89) return this.store(at, this.dword(at + 3));
    if (a === 0x0f && b === 0x32) {
      next(2);
      if (!this.msrs.includes(r.rcx)) return undefined;
      const data = new Uint8Array(8);
      this.unfinished = () => void (r.rax = new DataView(data.buffer).getUint32(0, true));
      return { kind: "msr-read", index: r.rcx, reason: "filter", data, fail() {} };
    }
    return { kind: "internal-error", suberror: 1, reason: "", bytes: memory.slice(at, at + 15) };
  }

  store(at: number, to: number): VmExit | undefined {
    if (this.readOnly.has(to)) {
      this.unfinished = () => void (this.r.rip = at + 7);
      return { kind: "mmio-write", address: BigInt(to), data: Uint8Array.of(this.r.rax & 0xff) };
    }
    this.memory[to] = this.r.rax;
    this.r.rip = at + 7;
    const [trap] = this.traps.hardware;
    if (trap?.access === "write" && Number(trap.address) === to) {
      return { kind: "debug", exception: 1, dr6: 1n, pc: BigInt(this.r.rip) };
    }
    return undefined;
  }
}

/** Names that came out as not usable, with the reasons. */
function failures(machine: ProbeMachine): Record<string, string> {
  const results = probeAll(machine);
  assert.deepEqual([...results.keys()], PROBES.map((probe) => probe.name));
  return Object.fromEntries(
    [...results].filter(([, c]) => !c.usable).map(([name, c]) => {
      assert.ok(c.reason && c.remedy, `${name} says neither why not nor what to do`);
      return [name, c.reason];
    }),
  );
}

const EXECUTE = [
  "breakpoint-hardware",
  "breakpoint-hardware-real",
  "breakpoint-hardware-user",
  "breakpoint-hardware-resume",
];
const STEPS = [
  "single-step",
  "single-step-real",
  "single-step-user",
  "single-step-handlers",
  "single-step-popf",
];
const INT3 = ["breakpoint-int3", "breakpoint-int3-real", "breakpoint-int3-user"];

Deno.test("a machine that does everything right has everything, and each says how it was found", () => {
  assert.deepEqual(failures(new Honest()), {});
  for (const capability of probeAll(new Honest()).values()) assert.match(capability.how, /^probe: /);
});

Deno.test("a step that is the processor's trap flag and no more is found out", () => {
  class TrapFlag extends Honest {
    flag = true;
    override start(...args: Parameters<Honest["start"]>) {
      super.start(...args);
      this.flag = true;
    }
    override step() {
      if (!this.flag) return { kind: "slice" } as const;
      if (this.memory[this.r.rip] === 0xcd) this.r.rip += 2; // handler and IRET, then the instruction behind
      else if (this.memory[this.r.rip] === 0x9d) this.flag = false;
      return super.step();
    }
  }
  assert.deepEqual(failures(new TrapFlag()), {
    "single-step-handlers": "a step of INT n runs the whole handler",
    "single-step-popf": "after a POPF the guest runs on",
  });
});

Deno.test("debug registers that never fire are not usable", () => {
  class Never extends Honest {
    override setTraps(traps: Traps) {
      this.traps = { hardware: [], int3: traps.int3 };
    }
  }
  const found = failures(new Never());
  assert.deepEqual(Object.keys(found), [...EXECUTE, "watchpoint-hardware"]);
  assert.equal(found["breakpoint-hardware"], "the guest ran past it");
  assert.equal(found["watchpoint-hardware"], "it never fires");
});

Deno.test("a breakpoint that fires at another place is not usable", () => {
  class Wrong extends Honest {
    override one(armed: boolean) {
      const exit = super.one(armed);
      if (exit?.kind === "debug" && exit.exception === 1) this.r.rip += 2;
      return exit;
    }
  }
  const found = failures(new Wrong());
  assert.match(found["breakpoint-hardware"], /fired at 0x1004 instead of 0x1002/);
  assert.match(found["watchpoint-hardware"], /instead of/);
  assert.ok(!("single-step" in found));
});

Deno.test("a breakpoint that fires after the instruction, or names no slot, is not usable", () => {
  class Late extends Honest {
    override one(armed: boolean) {
      const exit = super.one(armed);
      if (armed && exit?.kind === "debug" && exit.exception === 1) this.r.rbx++;
      return exit;
    }
  }
  assert.match(failures(new Late())["breakpoint-hardware"], /after the instruction/);
  class Nameless extends Honest {
    override one(armed: boolean): VmExit | undefined {
      const exit = super.one(armed);
      return exit?.kind === "debug" ? { ...exit, dr6: 0n } : exit;
    }
  }
  const found = failures(new Nameless());
  assert.deepEqual(Object.keys(found), [...EXECUTE, "watchpoint-hardware"]);
  assert.match(found["breakpoint-hardware"], /no slot/);
});

Deno.test("RF that is ignored, or that skips the instruction, is found out", () => {
  class Ignored extends Honest {
    override setRegisters(values: RegisterValues) {
      super.setRegisters({ ...values, ...(values.rflags ? { rflags: values.rflags & ~RF } : {}) });
    }
  }
  assert.deepEqual(failures(new Ignored()), {
    "breakpoint-hardware-resume": "RF is ignored: it fires again",
  });
  class Skips extends Honest {
    override setRegisters(values: RegisterValues) {
      super.setRegisters(values);
      if ((values.rflags ?? 0n) & RF) this.r.rip += 2;
    }
  }
  assert.deepEqual(failures(new Skips()), { "breakpoint-hardware-resume": "the instruction was left out" });
});

Deno.test("a step that does nothing, two instructions, or never ends, is not a step", () => {
  class Nothing extends Honest {
    override step(): VmExit {
      return { kind: "debug", exception: 1, dr6: 0x4000n, pc: 0n };
    }
  }
  assert.deepEqual(Object.keys(failures(new Nothing())), STEPS);
  class Two extends Honest {
    override step() {
      super.step();
      return super.step();
    }
  }
  assert.match(failures(new Two())["single-step"], /step 1 stopped at 0x1004/);
  class Runs extends Honest {
    override step() {
      return this.run();
    }
  }
  assert.equal(failures(new Runs())["single-step"], "the guest ran past it");
  class MovesOnly extends Honest {
    override step(): VmExit {
      this.r.rip += 2;
      return { kind: "debug", exception: 1, dr6: 0x4000n, pc: BigInt(this.r.rip) };
    }
  }
  assert.match(failures(new MovesOnly())["single-step"], /did not do its instruction/);
});

Deno.test("a machine that spins is given up after a few slices", () => {
  let entries = 0;
  class Spins extends Honest {
    override run(): VmExit {
      entries++;
      this.processor += 5;
      return { kind: "slice" };
    }
    override step(): VmExit {
      return this.run();
    }
  }
  const found = failures(new Spins());
  assert.equal(Object.keys(found).length, PROBES.length);
  assert.match(found["breakpoint-hlt"], /never left/);
  assert.ok(entries <= PROBES.length * 20, `${entries} entries`);
});

Deno.test("on a busy host, where slices end before the guest has run, everything is found all the same", () => {
  let slices = 0;
  class Starved extends Honest {
    override run(): VmExit {
      return ++slices % 100 === 0 ? super.run() : { kind: "slice" };
    }
    override step(): VmExit {
      return ++slices % 100 === 0 ? super.step() : { kind: "slice" };
    }
  }
  assert.deepEqual(failures(new Starved()), failures(new Honest()));
});

Deno.test("a machine that is never let run at all is given up too", () => {
  class Asleep extends Honest {
    override run(): VmExit {
      return { kind: "slice" };
    }
    override step(): VmExit {
      return { kind: "slice" };
    }
  }
  assert.equal(Object.keys(failures(new Asleep())).length, PROBES.length);
});

Deno.test("a machine that fails has nothing, and says what failed", () => {
  class Fails extends Honest {
    override run(): VmExit {
      throw new Error("ioctl KVM_RUN failed: EIO");
    }
    override step(): VmExit {
      throw new Error("ioctl KVM_RUN failed: EIO");
    }
  }
  const found = failures(new Fails());
  assert.equal(Object.keys(found).length, PROBES.length);
  for (const reason of Object.values(found)) assert.match(reason, /EIO/);
  class NoTraps extends Honest {
    override setTraps(): void {
      throw new Error("ioctl KVM_SET_GUEST_DEBUG failed: EINVAL");
    }
  }
  assert.deepEqual(Object.keys(failures(new NoTraps())), [...EXECUTE, "watchpoint-hardware", ...INT3]);
});

Deno.test("INT3 that goes to the guest, or is told with RIP behind it, is not usable", () => {
  class ToGuest extends Honest {
    override setTraps(traps: Traps) {
      super.setTraps({ ...traps, int3: false });
    }
  }
  const found = failures(new ToGuest());
  assert.deepEqual(Object.keys(found), INT3);
  assert.equal(found["breakpoint-int3"], "the guest gets the #BP itself");
  class Behind extends Honest {
    override one(armed: boolean) {
      const exit = super.one(armed);
      if (exit?.kind === "debug" && exit.exception === 3) this.r.rip++;
      return exit;
    }
  }
  assert.match(failures(new Behind())["breakpoint-int3"], /RIP was left at 0x1003/);
  class AsDebug extends Honest {
    override one(armed: boolean): VmExit | undefined {
      const exit = super.one(armed);
      return exit?.kind === "debug" && exit.exception === 3 ? { ...exit, exception: 1 } : exit;
    }
  }
  assert.match(failures(new AsDebug())["breakpoint-int3"], /exception 1/);
});

Deno.test("an OUT that can't be finished alone, or tells nonsense, is not usable", () => {
  class RunsOn extends Honest {
    override settle() {
      const had = this.unfinished !== undefined;
      super.settle();
      if (had) super.one(false);
      return undefined;
    }
  }
  assert.ok("breakpoint-out" in failures(new RunsOn()));
  class Nonsense extends Honest {
    override one(armed: boolean): VmExit | undefined {
      const exit = super.one(armed);
      return exit?.kind === "io-out" && exit.port === 0x7f ? { ...exit, port: 0x80 } : exit;
    }
  }
  assert.deepEqual(Object.keys(failures(new Nonsense())), ["breakpoint-out", "port-exits"]);
});

Deno.test("a read-only page that is written all the same is found out", () => {
  class Writes extends Honest {
    override store(at: number, to: number) {
      const exit = super.store(at, to);
      if (exit?.kind === "mmio-write") this.memory[to] = this.r.rax;
      return exit;
    }
  }
  assert.deepEqual(failures(new Writes()), { "watchpoint-page": "the write was done all the same" });
  class Ignores extends Honest {
    override protect() {}
  }
  assert.deepEqual(failures(new Ignores()), { "watchpoint-page": "the guest ran past it" });
});

Deno.test("MSR answers that the guest never sees, and bytes of another instruction, are found out", () => {
  class Deaf extends Honest {
    override settle() {
      this.unfinished = this.unfinished && this.r.rcx !== 0 ? undefined : this.unfinished;
      return super.settle();
    }
  }
  assert.match(failures(new Deaf())["msr-exits"], /instead of the answer/);
  class Garbled extends Honest {
    override one(armed: boolean): VmExit | undefined {
      const exit = super.one(armed);
      return exit?.kind === "internal-error" ? { ...exit, bytes: Uint8Array.of(0x90) } : exit;
    }
  }
  assert.match(failures(new Garbled())["emulation-failure-bytes"], /not those/);
  class Silent extends Honest {
    override one(armed: boolean): VmExit | undefined {
      const exit = super.one(armed);
      return exit?.kind === "internal-error" ? { ...exit, bytes: undefined } : exit;
    }
  }
  assert.match(failures(new Silent())["emulation-failure-bytes"], /not told/);
});

Deno.test("interrupts that are never taken are found out", () => {
  class Masked extends Honest {
    override interrupt() {}
    override nmi() {}
  }
  assert.deepEqual(Object.keys(failures(new Masked())), ["interrupts", "interrupt-windows", "nmi"]);
});
