/**
 * Finds out what this host's KVM really does, by guests of a few bytes. What KVM says of itself is not enough: a
 * capability may be announced and never fire, as hardware watchpoints do on nested and software hypervisors.
 *
 * Each probe is a function of a `ProbeMachine` and believes nothing: the exit, where it happened, and that the guest
 * did (or did not do) the instruction are all looked at.
 */

import type { Traps } from "../vm/backend.ts";
import type { Capability, CapabilityName } from "../vm/capabilities.ts";
import type { VmExit } from "../vm/exit.ts";
import { PROBE, type ProbeMachine, type ProbeMode } from "./probe_machine.ts";

/** Names that only KVM has, beside those that every backend answers for. */
export type KvmCapabilityName =
  | CapabilityName
  | "single-step-real"
  | "single-step-handlers"
  | "single-step-popf"
  | "breakpoint-hardware-real"
  | "breakpoint-hardware-user"
  | "breakpoint-hardware-resume"
  | "breakpoint-int3-user"
  | "interrupt-windows"
  | "port-exits";

/** What a probe saw: `true`-like words if it worked, a reason if not. */
type Finding = { readonly found: string } | { readonly reason: string };

/** One thing to try. */
interface Probe {
  readonly name: KvmCapabilityName;
  /** What using it changes in the guest. */
  readonly touches: readonly string[];
  /** What a user can do about it not working. */
  readonly remedy: string;
  readonly try: (machine: ProbeMachine) => Finding;
}

const found = (words: string): Finding => ({ found: words });
const not = (reason: string): Finding => ({ reason });
const hex = (value: bigint | number) => `0x${value.toString(16)}`;

/**
 * What a probe of a few instructions may take of a processor, in milliseconds: two slices of the probe guest. Slices go
 * by the wall clock, and on a busy host one may be over before the guest has run at all, so that their number says
 * little. Inside of a virtual machine what others take of the processor counts too.
 */
const PROCESSOR_MS = 100;
/** However little the guest was let run, it is given up after that many slices: twenty seconds. */
const MOST_SLICES = 400;

/** Runs or steps until the guest leaves for a reason; `undefined` if it spins. */
function leave(machine: ProbeMachine, enter: "run" | "step"): VmExit | undefined {
  const end = machine.processorMs() + PROCESSOR_MS;
  for (let i = 0; i < MOST_SLICES; i++) {
    const exit = machine[enter]();
    if (exit.kind !== "slice") return exit;
    if (machine.processorMs() >= end) return undefined;
  }
  return undefined;
}

/** An exit in a few words, for the reason why a probe failed. */
function describe(exit: VmExit | undefined): string {
  if (exit === undefined) return "the guest ran on and never left";
  if (exit.kind === "io-out" && exit.port === PROBE.port) return "the guest ran past it";
  return `the guest left with ${exit.kind} instead`;
}

/** `mov dx, port; out dx, al`: leaves the guest wherever it stands. Without a prefix the same in all modes. */
const leaveCode = (mode: ProbeMode) =>
  mode === "real"
    ? [0xba, PROBE.port & 0xff, PROBE.port >> 8, 0xee]
    : [0x66, 0xba, PROBE.port & 0xff, PROBE.port >> 8, 0xee];

/** `inc (e)ax; inc (e)bx`, each two bytes in every mode. */
const INCREMENTS = [0xff, 0xc0, 0xff, 0xc3];
const SECOND = PROBE.code + 2;

const NO_TRAPS: Traps = { hardware: [], int3: false };

/** One instruction is done, and no more. */
function singleStep(mode: ProbeMode) {
  return (machine: ProbeMachine): Finding => {
    machine.start(mode, [...INCREMENTS, ...leaveCode(mode)]);
    for (let i = 1; i <= 2; i++) {
      const exit = leave(machine, "step");
      if (exit?.kind !== "debug") return not(describe(exit));
      const { rip, rax, rbx } = machine.registers();
      if (rip !== BigInt(PROBE.code + 2 * i)) return not(`step ${i} stopped at ${hex(rip)}`);
      if (rax !== 1n || rbx !== BigInt(i - 1)) return not(`step ${i} did not do its instruction`);
    }
    return found(`probe: two steps stopped at ${hex(SECOND)} and ${hex(SECOND + 2)}`);
  };
}

/** A step of INT n ends at the handler's first instruction. */
function stepIntoHandler(machine: ProbeMachine): Finding {
  machine.start("real", [0xcd, 0x21, ...leaveCode("real")]);
  machine.poke(PROBE.handler, [0xcf]);
  machine.poke(0x21 * 4, [PROBE.handler & 0xff, PROBE.handler >> 8, 0, 0]);
  const exit = leave(machine, "step");
  if (exit?.kind !== "debug") return not(describe(exit));
  const { rip } = machine.registers();
  if (rip !== BigInt(PROBE.handler)) return not("a step of INT n runs the whole handler");
  return found("probe: a step of INT n stopped at its handler");
}

/** A step behind a POPF that clears the trap flag is one. */
function stepBehindPopf(machine: ProbeMachine): Finding {
  machine.start("real", [0x6a, 0x02, 0x9d, ...INCREMENTS, ...leaveCode("real")]);
  for (const rip of [2, 3, 5]) {
    const exit = leave(machine, "step");
    if (exit?.kind !== "debug") return not("after a POPF the guest runs on");
    if (machine.registers().rip !== BigInt(PROBE.code + rip)) return not("a step behind a POPF went too far");
  }
  return found("probe: a step behind a POPF was one");
}

/** A debug register stops before the instruction at its address. */
function executeTrap(mode: ProbeMode) {
  return (machine: ProbeMachine): Finding => {
    machine.start(mode, [...INCREMENTS, ...leaveCode(mode)]);
    machine.setTraps({ hardware: [{ address: BigInt(SECOND), access: "execute", size: 1 }], int3: false });
    const exit = leave(machine, "run");
    if (exit?.kind !== "debug") return not(describe(exit));
    const dr6 = exit.dr6;
    const { rip, rax, rbx } = machine.registers();
    if (rip !== BigInt(SECOND)) return not(`it fired at ${hex(rip)} instead of ${hex(SECOND)}`);
    if (rax !== 1n || rbx !== 0n) return not("it fired after the instruction instead of before");
    if ((dr6 & 1n) === 0n) return not(`it fired with DR6 ${hex(dr6)}, which names no slot`);
    return found(`probe: fired at ${hex(rip)}`);
  };
}

/** After a stop, RFLAGS.RF lets the instruction run without stepping over it. */
function resumeFlag(machine: ProbeMachine): Finding {
  const first = executeTrap("long")(machine);
  if ("reason" in first) return not(`execute traps do not work: ${first.reason}`);
  machine.setRegisters({ rflags: machine.registers().rflags | (1n << 16n) });
  const exit = leave(machine, "run");
  if (exit?.kind !== "io-out") {
    return not(exit?.kind === "debug" ? "RF is ignored: it fires again" : describe(exit));
  }
  if (machine.registers().rbx !== 1n) return not("the instruction was left out");
  return found("probe: RFLAGS.RF let the instruction run");
}

/** A debug register stops after a write to its address. */
function dataTrap(machine: ProbeMachine): Finding {
  // mov [data], eax; then leave.
  const store = [0x89, 0x04, 0x25, ...dword(PROBE.data)];
  machine.start("long", [...store, ...leaveCode("long")], { rax: 0x55n });
  machine.setTraps({ hardware: [{ address: BigInt(PROBE.data), access: "write", size: 4 }], int3: false });
  const exit = leave(machine, "run");
  if (exit?.kind !== "debug") return not(exit?.kind === "io-out" ? "it never fires" : describe(exit));
  if ((exit.dr6 & 1n) === 0n) return not(`it fired with DR6 ${hex(exit.dr6)}, which names no slot`);
  const after = BigInt(PROBE.code + store.length);
  const { rip } = machine.registers();
  if (rip !== after) return not(`it fired at ${hex(rip)} instead of ${hex(after)}`);
  return found(`probe: fired at ${hex(rip)}, after the write`);
}

/** INT3 is told to the debugger, with RIP at it. */
function int3(mode: ProbeMode) {
  return (machine: ProbeMachine): Finding => {
    machine.start(mode, [0xff, 0xc0, 0xcc, ...leaveCode(mode)]);
    if (mode === "real") {
      // If the guest gets the #BP itself, its handler leaves.
      machine.poke(PROBE.handler, leaveCode("real"));
      machine.poke(3 * 4, [PROBE.handler & 0xff, PROBE.handler >> 8, 0, 0]);
    }
    machine.setTraps({ hardware: [], int3: true });
    const exit = leave(machine, "run");
    if (exit?.kind === "io-out" || exit?.kind === "shutdown") return not("the guest gets the #BP itself");
    if (exit?.kind !== "debug") return not(describe(exit));
    if (exit.exception !== 3) return not(`it came as exception ${exit.exception}`);
    const pc = exit.pc;
    const { rip } = machine.registers();
    if (pc !== BigInt(SECOND)) return not(`it was told of ${hex(pc)} instead of ${hex(SECOND)}`);
    if (rip !== BigInt(SECOND)) return not(`RIP was left at ${hex(rip)} instead of at the INT3`);
    return found(`probe: told at ${hex(pc)}`);
  };
}

/** HLT leaves the guest, RIP behind it. */
function halt(machine: ProbeMachine): Finding {
  machine.start("long", [0xf4, ...leaveCode("long")]);
  const exit = leave(machine, "run");
  if (exit?.kind !== "halt") return not(describe(exit));
  const { rip } = machine.registers();
  if (rip !== BigInt(PROBE.code + 1)) return not(`HLT left RIP at ${hex(rip)}`);
  return found("probe: HLT left the guest; only without an irqchip");
}

/** OUT leaves the guest, and settling finishes it without running what follows. */
function out(mode: ProbeMode) {
  return (machine: ProbeMachine): Finding => {
    machine.start(mode, [0xe6, 0x7f, ...INCREMENTS, ...leaveCode(mode)], { rax: 0xa5n });
    const exit = leave(machine, "run");
    if (exit?.kind !== "io-out") return not(describe(exit));
    if (exit.port !== 0x7f || exit.data.length !== 1 || exit.data[0] !== 0xa5) {
      return not(`it told of port ${hex(exit.port)} and ${exit.data.length} bytes`);
    }
    if (machine.settle() !== undefined) return not("the instruction could not be finished");
    const { rip, rax } = machine.registers();
    if (rip !== BigInt(SECOND)) return not(`after the instruction RIP was ${hex(rip)}`);
    if (rax !== 0xa5n) return not("finishing it ran the next instruction too");
    return found("probe: OUT left the guest, and could be finished alone");
  };
}

/** A write to a read-only page leaves the guest and changes nothing. */
function readOnlyPage(machine: ProbeMachine): Finding {
  machine.start("long", [0x88, 0x04, 0x25, ...dword(PROBE.data), ...leaveCode("long")], { rax: 0x77n });
  machine.poke(PROBE.data, [0x11]);
  machine.protect(PROBE.data, true);
  const exit = leave(machine, "run");
  if (exit?.kind !== "mmio-write") return not(describe(exit));
  if (exit.address !== BigInt(PROBE.data) || exit.data[0] !== 0x77) {
    return not(`it told of a write of ${hex(exit.data[0])} to ${hex(exit.address)}`);
  }
  if (machine.peek(PROBE.data) !== 0x11) return not("the write was done all the same");
  return found("probe: the write left the guest and changed nothing");
}

/** IA32_SYSENTER_CS: every processor has it, and nothing depends on it here. */
const MSR = 0x174;

/** RDMSR of a chosen MSR leaves the guest, which gets the answer. */
function msrExit(machine: ProbeMachine): Finding {
  // mov ecx, MSR; rdmsr; then leave.
  machine.start("long", [0xb9, ...dword(MSR), 0x0f, 0x32, ...leaveCode("long")]);
  machine.trapMsrs([MSR]);
  try {
    const exit = leave(machine, "run");
    if (exit?.kind !== "msr-read") return not(describe(exit));
    if (exit.index !== MSR) return not(`it told of MSR ${hex(exit.index)}`);
    exit.data.set([0x21, 0x43, 0x65, 0x07, 0, 0, 0, 0]);
    const next = leave(machine, "run");
    if (next?.kind !== "io-out") return not(describe(next));
    const { rax } = machine.registers();
    if (rax !== 0x0765_4321n) return not(`the guest read ${hex(rax)} instead of the answer`);
    return found("probe: RDMSR left the guest, and the guest got the answer");
  } finally {
    machine.trapMsrs([]);
  }
}

/** An instruction that KVM can't emulate is told with its bytes. */
function failureBytes(machine: ProbeMachine): Finding {
  // fld dword [nothing]: KVM's emulator knows no x87 loads, and without memory there it has to emulate.
  const code = [0xd9, 0x04, 0x25, ...dword(PROBE.nothing)];
  machine.start("long", [...code, ...leaveCode("long")]);
  const exit = leave(machine, "run");
  if (exit?.kind !== "internal-error") return not(describe(exit));
  if (exit.bytes === undefined) return not("the bytes are not told");
  const told = exit.bytes.subarray(0, code.length);
  if (told.length < code.length || !code.every((byte, i) => told[i] === byte)) {
    return not("the bytes told are not those of the instruction");
  }
  return found("probe: the bytes of an x87 load from nowhere were told");
}

/** A handler of real mode for `vector`, which leaves the guest with AL = vector. */
function handle(machine: ProbeMachine, vector: number): void {
  machine.poke(PROBE.handler, [0xb0, vector, ...leaveCode("real")]);
  machine.poke(vector * 4, [PROBE.handler & 0xff, PROBE.handler >> 8, 0, 0]);
}

/** The guest takes `vector` as soon as it runs. */
function taken(machine: ProbeMachine, vector: number): Finding {
  const exit = leave(machine, "run");
  if (exit?.kind !== "io-out") return not(describe(exit));
  const value = exit.data[0];
  if (value !== vector) return not("the guest ran past it and never took it");
  return found(`probe: the guest took vector ${vector}`);
}

/** Room for an interrupt to be taken, and then an exit with AL = 0. */
const WAIT = [0x90, 0x90, 0x90, 0x90];

function interrupt(machine: ProbeMachine): Finding {
  machine.start("real", [...WAIT, ...leaveCode("real")], { rflags: 0x202n });
  handle(machine, 0x20);
  machine.interrupt(0x20);
  return taken(machine, 0x20);
}

/** A loop's rounds, each of which lets interrupts in for one instruction: STI; NOP; NOP; CLI. */
const WINDOWS = Array.from({ length: 100 }, () => [0xfb, 0x90, 0x90, 0xfa]).flat();

function windows(machine: ProbeMachine): Finding {
  machine.start("real", [...WINDOWS, ...leaveCode("real")], { rflags: 0x2n });
  handle(machine, 0x20);
  machine.interrupt(0x20);
  const { reason } = { reason: "", ...taken(machine, 0x20) };
  return reason === ""
    ? found("probe: the guest took a vector in the first instructions with interrupts on")
    : not(
      "a guest that has interrupts on for a few instructions is not given any: hvsh steps to such a place",
    );
}

function nmi(machine: ProbeMachine): Finding {
  machine.start("real", [...WAIT, ...leaveCode("real")]);
  handle(machine, 2);
  machine.nmi();
  return taken(machine, 2);
}

/** A 32-bit number's bytes, little-endian. */
function dword(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, (value >>> 24) & 0xff];
}

const NO_TRAP_REMEDY =
  "Use a breakpoint kind that vm.capabilities lists as usable, or a host with vmx or svm.";
const MEMORY = ["guest memory"];
const DEBUG_REGISTERS = ["DR0-DR3, DR7: the guest's own do not fire meanwhile"];

/** Every probe, in the order in which they are tried. */
export const PROBES: readonly Probe[] = [
  { name: "single-step", touches: [], remedy: "Use breakpoints instead.", try: singleStep("long") },
  { name: "single-step-real", touches: [], remedy: "Use breakpoints instead.", try: singleStep("real") },
  { name: "single-step-user", touches: [], remedy: "Use breakpoints instead.", try: singleStep("user") },
  {
    name: "single-step-handlers",
    touches: [],
    remedy: "In real mode hvsh enters handlers by itself; elsewhere set a breakpoint in the handler.",
    try: stepIntoHandler,
  },
  {
    name: "single-step-popf",
    touches: [],
    remedy: "Nothing is to be done: hvsh sets the trap flag for each step anew.",
    try: stepBehindPopf,
  },
  { name: "breakpoint-hardware", touches: DEBUG_REGISTERS, remedy: NO_TRAP_REMEDY, try: executeTrap("long") },
  {
    name: "breakpoint-hardware-real",
    touches: DEBUG_REGISTERS,
    remedy: NO_TRAP_REMEDY,
    try: executeTrap("real"),
  },
  {
    name: "breakpoint-hardware-user",
    touches: DEBUG_REGISTERS,
    remedy: NO_TRAP_REMEDY,
    try: executeTrap("user"),
  },
  { name: "breakpoint-hardware-resume", touches: ["RFLAGS.RF"], remedy: "Step over it.", try: resumeFlag },
  { name: "watchpoint-hardware", touches: DEBUG_REGISTERS, remedy: "Watch the page instead.", try: dataTrap },
  { name: "breakpoint-int3", touches: MEMORY, remedy: NO_TRAP_REMEDY, try: int3("long") },
  { name: "breakpoint-int3-real", touches: MEMORY, remedy: NO_TRAP_REMEDY, try: int3("real") },
  { name: "breakpoint-int3-user", touches: MEMORY, remedy: NO_TRAP_REMEDY, try: int3("user") },
  { name: "breakpoint-hlt", touches: MEMORY, remedy: NO_TRAP_REMEDY, try: halt },
  { name: "breakpoint-out", touches: MEMORY, remedy: NO_TRAP_REMEDY, try: out("long") },
  { name: "port-exits", touches: [], remedy: "Use a host whose KVM hands out ports.", try: out("real") },
  { name: "watchpoint-page", touches: [], remedy: "Step and look instead.", try: readOnlyPage },
  { name: "msr-exits", touches: [], remedy: "Use Linux 5.10 or newer.", try: msrExit },
  { name: "emulation-failure-bytes", touches: [], remedy: "Use Linux 5.16 or newer.", try: failureBytes },
  { name: "interrupts", touches: [], remedy: "Use a host with vmx or svm.", try: interrupt },
  {
    name: "interrupt-windows",
    touches: [],
    remedy: "Nothing is to be done, but interrupts come late.",
    try: windows,
  },
  { name: "nmi", touches: [], remedy: "Use a host with vmx or svm.", try: nmi },
];

/**
 * Tries everything on one machine. A probe that throws counts as a feature that does not work, and the error as the
 * reason; the others are tried all the same.
 */
export function probeAll(machine: ProbeMachine): Map<KvmCapabilityName, Capability> {
  const results = new Map<KvmCapabilityName, Capability>();
  for (const { name, touches, remedy, try: attempt } of PROBES) {
    let finding: Finding;
    try {
      finding = attempt(machine);
    } catch (error) {
      finding = not(`the probe failed: ${error instanceof Error ? error.message : String(error)}`);
    }
    try {
      machine.setTraps(NO_TRAPS);
    } catch {
      // The next probe's start sets them again and will tell.
    }
    results.set(
      name,
      "found" in finding
        ? { usable: true, how: finding.found, touches }
        : { usable: false, how: "probe", touches, reason: finding.reason, remedy },
    );
  }
  return results;
}
