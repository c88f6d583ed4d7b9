/** Single steps with every general register read, against C. */

import type { Registers } from "../mod.ts";
import { type Figure, type Measured, rates, type Side } from "./figure.ts";
import { openGuest, STEPPED, twinSettings } from "./guest.ts";
import { Twin } from "./twin.ts";

/** The figure: steps in a row, as the twin's loop does them, every general register read after each. */
export const step: Figure = {
  name: "step",
  what: "await vm.step({count, each}), all 18 general registers read in `each`; C: KVM_RUN with sync_regs",
  goal: 0.9,
  better: "higher",
  unit: "steps/s",
  needs: ["kvm", "cc"],
  measure: (effort) => against("sync", inARow, (ours, theirs) => rates(ours, theirs, effort)),
};

/** One `await vm.step()` for each instruction, and a read of every general register of its stop. */
export const stepAwait: Figure = {
  ...step,
  name: "step-await",
  what: "await vm.step() one by one, all 18 general registers of each stop read; C as for step",
  measure: (effort) => against("sync", oneByOne, (ours, theirs) => rates(ours, theirs, effort)),
};

/** Against a C program that does not know sync_regs. */
export const stepGetRegs: Figure = {
  ...stepAwait,
  name: "step-get-regs",
  what: "as step-await; C: KVM_RUN and KVM_GET_REGS",
  measure: (effort) => against("ioctl", oneByOne, (ours, theirs) => rates(ours, theirs, effort)),
};

type Guest = Awaited<ReturnType<typeof openGuest>>;

/** What was read last; exported, so that no compiler may leave the reads out. */
export let sink = 0n;

/** Each by its name, as the twin in C reads the members of its structure. */
export function readAll(registers: Registers): void {
  sink = registers.rax;
  sink = registers.rbx;
  sink = registers.rcx;
  sink = registers.rdx;
  sink = registers.rsi;
  sink = registers.rdi;
  sink = registers.rsp;
  sink = registers.rbp;
  sink = registers.r8;
  sink = registers.r9;
  sink = registers.r10;
  sink = registers.r11;
  sink = registers.r12;
  sink = registers.r13;
  sink = registers.r14;
  sink = registers.r15;
  sink = registers.rip;
  sink = registers.rflags;
}

const oneByOne = (vm: Guest): Side => async (count) => {
  const start = performance.now();
  for (let i = 0; i < count; i++) readAll((await vm.step()).registers);
  return (performance.now() - start) * 1e6;
};

const inARow = (vm: Guest): Side => async (count) => {
  const start = performance.now();
  await vm.step({ count, each: readAll });
  return (performance.now() - start) * 1e6;
};

async function against(
  registers: "sync" | "ioctl",
  ours: (vm: Guest) => Side,
  compare: (ours: Side, theirs: Side) => Promise<Measured>,
): Promise<Measured> {
  const code = { bytes: STEPPED };
  await using vm = await openGuest(code);
  await using twin = await Twin.start("step", { ...twinSettings(code), registers });
  return await compare(ours(vm), twin.run);
}
