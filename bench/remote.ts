/** hvsh as a client of QEMU's stub: steps, and two guests compared instruction by instruction. */

import { compareMachines, elf, type GuestMachine, MiB, open } from "../mod.ts";
import { type Figure, Obstacle, rates, type Side } from "./figure.ts";
import { hypervisor, qemuStub, withImage } from "./peers.ts";
import { Twin } from "./twin.ts";

const openQemu = (image: string) => open({ backend: "qemu", memory: MiB(32), boot: elf(image) });

/** What was read last; exported, so that no compiler may leave the reads out. */
export let sink = 0n;

const steps = (vm: GuestMachine): Side => async (count) => {
  const start = performance.now();
  for (let i = 0; i < count; i++) sink = (await vm.step()).registers.rax;
  return (performance.now() - start) * 1e6;
};

/** Steps of a guest in QEMU, a register read behind each. */
export const qemuStep: Figure = {
  name: "qemu-step",
  what: "await vm.step() and a register read, guest in QEMU; a socket client in C: `s` and `g`",
  goal: 0.8,
  better: "higher",
  unit: "steps/s",
  needs: ["cc"],
  measure: (effort) =>
    withImage(async (image) => {
      await using vm = await openQemu(image);
      await using stub = qemuStub("tcg", image);
      await using twin = await Twin.start("rsp", { port: stub.port, packets: "s|g" });
      return { ...await rates(steps(vm), twin.run, effort), on: "QEMU tcg" };
    }),
};

/** Two guests in lock step, against the steps of one. */
export const diff: Figure = {
  name: "diff",
  what:
    "instructions compared in lock step, kvm and qemu; await vm.step() and a register read, in QEMU alone",
  goal: 0.7,
  better: "higher",
  unit: "instructions/s",
  needs: [],
  measure: (effort) =>
    withImage(async (image) => {
      const { ours } = await hypervisor();
      await using local = await open({ backend: ours, memory: MiB(32), boot: elf(image) });
      await using remote = await openQemu(image);
      await using alone = await openQemu(image);
      const compared: Side = async (count) => {
        const start = performance.now();
        const { same } = await compareMachines(local, remote, count);
        if (same !== count) throw new Obstacle(`they differ after ${same} instructions`, "see hvsh diff");
        return (performance.now() - start) * 1e6;
      };
      return { ...await rates(compared, steps(alone), effort), on: `${ours}, QEMU tcg` };
    }),
};
