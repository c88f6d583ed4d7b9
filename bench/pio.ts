/** Port accesses answered by a device in TypeScript, against a switch in C. */

import { type Figure, rates, type Side } from "./figure.ts";
import { LATCH, LATCH_PORT, openGuest, twinSettings } from "./guest.ts";
import { Twin } from "./twin.ts";

const CODE = { bytes: LATCH };

/** A guest whose IN and OUT in turn a device in TypeScript answers; its side counts exits. */
export async function latchSide(): Promise<{ readonly side: Side } & AsyncDisposable> {
  const vm = await openGuest(CODE);
  let latch = 0;
  let left = 0;
  const count = () => {
    if (--left === 0) void vm.pause();
  };
  await vm.devices.add({
    name: "latch",
    ports: { start: LATCH_PORT, length: 1 },
    read(_offset, data) {
      data[0] = latch;
      count();
    },
    write(_offset, data) {
      latch = data[0];
      count();
    },
  });
  return {
    async side(exits) {
      left = exits;
      const start = performance.now();
      await vm.continue();
      return (performance.now() - start) * 1e6;
    },
    [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose](),
  };
}

/** The figure: IN and OUT in turn, each one exit. */
export const pio: Figure = {
  name: "pio",
  what: "IN and OUT answered by a TypeScript device under vm.continue(); C: a switch",
  goal: 0.8,
  better: "higher",
  unit: "exits/s",
  needs: ["kvm", "cc"],
  async measure(effort) {
    await using guest = await latchSide();
    await using twin = await Twin.start("pio", { ...twinSettings(CODE), port: LATCH_PORT });
    return await rates(guest.side, twin.run, effort);
  },
};
