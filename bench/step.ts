/** Single steps with every general register read, against C. */

import { REGISTER_GROUPS } from "../mod.ts";
import { type Figure, type Measured, rates, type Side } from "./figure.ts";
import { openGuest, STEPPED, twinSettings } from "./guest.ts";
import { Twin } from "./twin.ts";

const NAMES = REGISTER_GROUPS.general;

/** The figure: one `await vm.step()` and one `await vcpu.registers()` for each instruction. */
export const step: Figure = {
  name: "step",
  what: "await vm.step(), then registers() and all 18 general ones read; C: KVM_RUN with sync_regs",
  goal: 0.9,
  better: "higher",
  unit: "steps/s",
  needs: ["kvm", "cc"],
  measure: (effort) => against("sync", oneByOne, (ours, theirs) => rates(ours, theirs, effort)),
};

/** The same steps asked for at once, with the registers handed to a function. */
export const stepEach: Figure = {
  ...step,
  name: "step-each",
  what: "await vm.step({count, each}), all 18 general registers read in `each`; C as for step",
  measure: (effort) => against("sync", allAtOnce, (ours, theirs) => rates(ours, theirs, effort)),
};

/** Against a C program that does not know sync_regs. */
export const stepGetRegs: Figure = {
  ...step,
  name: "step-get-regs",
  what: "as step; C: KVM_RUN and KVM_GET_REGS",
  measure: (effort) => against("ioctl", oneByOne, (ours, theirs) => rates(ours, theirs, effort)),
};

type Guest = Awaited<ReturnType<typeof openGuest>>;

/** What was read last; exported, so that no compiler may leave the reads out. */
export let sink = 0n;

const oneByOne = (vm: Guest): Side => async (count) => {
  const vcpu = vm.vcpus[0];
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    await vm.step();
    const registers = await vcpu.registers();
    for (const name of NAMES) sink = registers[name];
  }
  return (performance.now() - start) * 1e6;
};

const allAtOnce = (vm: Guest): Side => async (count) => {
  const start = performance.now();
  await vm.step({
    count,
    each(registers) {
      for (const name of NAMES) sink = registers[name];
    },
  });
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
