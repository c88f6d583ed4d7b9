/** Breakpoints whose condition, a closure that reads a register, does not hold. */

import { gva } from "../mod.ts";
import { type Effort, type Figure, type Measured, rates, type Side } from "./figure.ts";
import { BREAK_AT, COUNTED, openGuest, twinSettings } from "./guest.ts";
import { Twin } from "./twin.ts";

/** The figure for a debug register. */
export const condition: Figure = {
  name: "condition",
  what: "hardware breakpoint with a closure; C: the same debug exits, each stepped off",
  goal: 0.6,
  better: "higher",
  unit: "evaluations/s",
  needs: ["kvm", "cc"],
  measure: (effort) => evaluations("hardware", effort),
};

/** The figure for bytes in the guest's code; the twin takes the same ones as hvsh takes on this host. */
export const conditionSoftware: Figure = {
  name: "condition-sw",
  what: "software breakpoint with a closure; C: the same patch, step and patch again",
  goal: 0.7,
  better: "higher",
  unit: "evaluations/s",
  needs: ["kvm", "cc"],
  measure: (effort) => evaluations("software", effort),
};

async function evaluations(kind: "hardware" | "software", effort: Effort): Promise<Measured> {
  const code = { bytes: COUNTED };
  await using vm = await openGuest(code);
  let left = 0;
  const breakpoint = await vm.breakpoints.add(gva(BREAK_AT), {
    kind,
    condition: (hit) => hit.registers.rax === 0xffff_ffffn || --left === 0,
  });
  const ours: Side = async (count) => {
    left = count;
    const start = performance.now();
    await vm.continue();
    return (performance.now() - start) * 1e6;
  };
  const settings = { ...twinSettings(code), how: breakpoint.how, address: BREAK_AT };
  await using twin = await Twin.start("condition", settings);
  return await rates(ours, twin.run, effort);
}
