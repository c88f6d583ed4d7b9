/** The GDB server beside QEMU's stub: both serve the same guest, each from its process, to the same C client. */

import { type Figure, rates } from "./figure.ts";
import { both, cServer } from "./peers.ts";
import { Twin } from "./twin.ts";

const MEMORY_AT = 0x10_0000;

/** Raw `s` packets, one after another. */
export const rspStep: Figure = {
  name: "rsp-step",
  what: "`s` packets of a loopback client in C to hvsh's GDB server; to QEMU's stub",
  goal: 8,
  better: "higher",
  unit: "steps/s",
  needs: ["cc"],
  measure: (effort) =>
    both(async (ours, theirs) => {
      await using a = await Twin.start("rsp", { port: ours, packets: "s" });
      await using b = await Twin.start("rsp", { port: theirs, packets: "s" });
      return await rates(a.run, b.run, effort);
    }),
};

/** Memory by the largest packets that each side takes. */
export const rspMem: Figure = {
  name: "rsp-mem",
  what: "bytes by `m` with the largest packet from hvsh's GDB server; from QEMU's stub",
  goal: 10,
  better: "higher",
  unit: "bytes/s",
  needs: ["cc"],
  measure: (effort) =>
    both(async (ours, theirs) => {
      await using a = await Twin.start("rsp", { port: ours, memory: MEMORY_AT });
      await using b = await Twin.start("rsp", { port: theirs, memory: MEMORY_AT });
      return await rates(a.run, b.run, effort);
    }),
};

/** The same two of a server in C: a goal above these is one that nobody reaches on this host. */
export const rspFloors: readonly Figure[] = [
  inC(rspStep, "rsp-step-c", { packets: "s" }),
  inC(rspMem, "rsp-mem-c", { memory: MEMORY_AT }),
];

function inC(figure: Figure, name: string, request: Record<string, string | number>): Figure {
  return {
    ...figure,
    name,
    what: figure.what.replace("hvsh's GDB server", "a server in C"),
    needs: ["kvm", "cc"],
    measure: (effort) =>
      both(async (ours, theirs) => {
        await using a = await Twin.start("rsp", { port: ours, ...request });
        await using b = await Twin.start("rsp", { port: theirs, ...request });
        return await rates(a.run, b.run, effort);
      }, cServer),
  };
}
