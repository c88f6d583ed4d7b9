/** Requests of a virtio driver that is no Linux: the device's part alone, against the same in C. */

import { type Device, flat, gpa, MiB, open, virtioDisk } from "../mod.ts";
import { type Figure, rates, type Side } from "./figure.ts";
import { hex, Twin } from "./twin.ts";

const MEMORY = MiB(16);
const AT = 0x1000;
/** Where the fixture is told when to stop. */
const LEFT = 0x1008n;
const LOOP = new URL("../fixtures/virtio_loop.bin", import.meta.url);
/** Where the fixture has its device, its descriptors, and room for what they name. */
const PLACE = { at: 0xd000_0000n, irq: 10 };
const DESCRIPTORS = 0x2_0000n;
const HEADER = 0x3_0000;
const DATA = 0x4_0000;
const STATUS = 0x3_1000;
const FLAG = { NEXT: 1, WRITE: 2 };
const READ_BYTES = 4096;
const DISK_BYTES = MiB(1);

/** The figure. */
export const blkRead: Figure = {
  name: "blk-read",
  what: "4 KiB reads of a virtio disk, one after the other, polled for; C: its queue alone, by pread()",
  goal: 0.6,
  better: "higher",
  unit: "reads/s",
  needs: ["kvm", "cc"],
  async measure(effort) {
    const disk = await Deno.makeTempFile();
    try {
      await Deno.truncate(disk, DISK_BYTES);
      const code = await Deno.readFile(LOOP);
      const read = chain([
        { at: HEADER, length: 16 },
        { at: DATA, length: READ_BYTES, write: true },
        { at: STATUS, length: 1, write: true },
      ]);
      await using ours = await loopSide(code, read, virtioDisk(disk, { mode: "read-only", place: PLACE }));
      await using twin = await Twin.start("virtio_blk", {
        ...{ memory: MEMORY, irqchip: 1, at: AT, code: hex(code), chain: hex(read), disk },
      });
      return await rates(ours.side, twin.run, effort);
    } finally {
      await Deno.remove(disk);
    }
  },
};

/** A guest that makes the same request to `device` again and again; its side counts requests. */
export async function loopSide(
  code: Uint8Array,
  chain: Uint8Array,
  device: Device,
): Promise<{ readonly side: Side } & AsyncDisposable> {
  const vm = await open({ backend: "kvm", memory: MEMORY, boot: flat(code, { at: AT }), devices: [device] });
  await vm.memory.write(gpa(DESCRIPTORS), chain);
  return {
    async side(requests) {
      await vm.memory.write(gpa(LEFT), new Uint8Array(Uint32Array.of(requests).buffer));
      const start = performance.now();
      const stop = await vm.continue();
      if (stop.kind !== "exit") throw new Error(`the guest stopped by ${stop.kind}`);
      return (performance.now() - start) * 1e6;
    },
    [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose](),
  };
}

/** Descriptors of a split ring, each leading to the next. */
function chain(parts: readonly { at: number; length: number; write?: boolean }[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(16 * parts.length));
  for (const [i, { at, length, write }] of parts.entries()) {
    view.setUint32(16 * i, at, true);
    view.setUint32(16 * i + 8, length, true);
    const last = i === parts.length - 1;
    view.setUint16(16 * i + 12, (last ? 0 : FLAG.NEXT) | (write === true ? FLAG.WRITE : 0), true);
    view.setUint16(16 * i + 14, last ? 0 : i + 1, true);
  }
  return new Uint8Array(view.buffer);
}
