/** What guests leave behind when they are closed: nothing. */

import { flat, MiB, open } from "../mod.ts";
import { type Figure, Obstacle } from "./figure.ts";
import { COUNTED } from "./guest.ts";

const SIZE = MiB(4096);
const TIMES = 200;
/** Opened and closed before the first look, so that code is compiled and V8's heaps have grown to their size. */
const WARM_UP = 100;

/** The figure: descriptors, mappings and resident MiB that are there afterwards and were not before, added up. */
export const reopen: Figure = {
  name: "reopen",
  what:
    "a guest of 4 GiB opened and closed 200 times: descriptors + mappings + resident MiB more than before",
  goal: 0,
  better: "lower",
  unit: "fds+mappings+MiB",
  needs: ["kvm"],
  async measure() {
    const total = Number(/^MemTotal:\s+(\d+)/m.exec(Deno.readTextFileSync("/proc/meminfo"))?.[1]) * 1024;
    if (total < SIZE) {
      throw new Obstacle(
        `this host has ${Math.floor(total / MiB(1))} MiB, less than the guest's 4096`,
        "measure the others with --only",
      );
    }
    await openAndClose(WARM_UP);
    const before = held();
    await openAndClose(TIMES);
    const after = held();
    // What the kernel and V8 keep of pages in use moves by parts of a MiB from look to look.
    const grown = Math.max(0, after.fds - before.fds) + Math.max(0, after.mappings - before.mappings) +
      Math.max(0, Math.floor((after.resident - before.resident) / MiB(1)));
    return { ratio: grown, ours: grown, theirs: 0 };
  },
};

async function openAndClose(times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    const vm = await open({ backend: "kvm", memory: SIZE, boot: flat(COUNTED) });
    await vm.close();
    // Collected now and then, so that what is left at the end is what is held, not how far V8 let its heaps grow.
    if (i % 50 === 49) collect();
  }
}

/** There with --v8-flags=--expose-gc, which the task gives. */
function collect(): void {
  (globalThis as { gc?: () => void }).gc?.();
}

/** What the process holds, garbage collected. */
function held(): { fds: number; mappings: number; resident: number } {
  collect();
  return {
    fds: [...Deno.readDirSync("/proc/self/fd")].length,
    mappings: Deno.readTextFileSync("/proc/self/maps").split("\n").length,
    resident: Number(Deno.readTextFileSync("/proc/self/statm").split(" ")[1]) * 4096,
  };
}
