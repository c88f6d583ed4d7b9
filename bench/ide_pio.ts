/** Sectors read by programmed I/O, against port accesses that nothing stands behind. */

import { flat, MiB, open } from "../mod.ts";
import { MemoryDisk } from "../src/backing/memory_disk.ts";
import { ideController } from "../src/devices/ide/ide_controller.ts";
import { type Figure, rates, type Side } from "./figure.ts";
import { latchSide } from "./pio.ts";

/**
 * For ever: READ SECTORS of one sector, as a driver does it: five registers and the command, the status, and REP INSW.
 * mov dx, 0x1f6; mov al, 0xe0; out dx, al; again: cld; mov dx, 0x1f2; mov al, 1; out dx, al; inc dx; xor al, al;
 * out dx, al; inc dx; out dx, al; inc dx; out dx, al; mov dx, 0x1f7; mov al, 0x20; out dx, al; in al, dx;
 * mov dx, 0x1f0; mov cx, 256; mov di, 0x4000; rep insw; jmp again
 */
// deno-fmt-ignore
const CODE = Uint8Array.of(
  0xba, 0xf6, 0x01, 0xb0, 0xe0, 0xee, 0xfc, 0xba, 0xf2, 0x01, 0xb0, 0x01, 0xee, 0x42, 0x30, 0xc0, 0xee, 0x42, 0xee,
  0x42, 0xee, 0xba, 0xf7, 0x01, 0xb0, 0x20, 0xee, 0xec, 0xba, 0xf0, 0x01, 0xb9, 0x00, 0x01, 0xbf, 0x00, 0x40, 0xf3,
  0x6d, 0xeb, 0xdd,
);
/** Exits of a turn where the hypervisor brings a sector's words at once: four registers, command, status, data. */
const EXITS = 7;

/** The figure. */
export const idePio: Figure = {
  name: "ide-pio",
  what: "exits of READ SECTORS by PIO, one sector each; the bare pio figure's hvsh",
  goal: 0.8,
  better: "higher",
  unit: "exits/s",
  needs: ["kvm"],
  async measure(effort) {
    let left = 0;
    const onCommand = () => {
      if (--left === 0) void vm.pause();
    };
    const disk = new MemoryDisk(new Uint8Array(MiB(1)));
    await using vm = await open({
      backend: "kvm",
      memory: MiB(16),
      boot: flat(CODE, { at: 0x1000 }),
      defaultDevices: false,
      devices: [ideController({ configured: true, primary: { master: { disk } }, onCommand })],
    });
    const ours: Side = async (exits) => {
      left = Math.max(1, Math.round(exits / EXITS));
      vm.trace.clear();
      const start = performance.now();
      await vm.continue();
      const took = (performance.now() - start) * 1e6;
      // As many as were asked for, whatever pieces this hypervisor cuts a string into.
      return took * exits / vm.trace.statistics().total;
    };
    await using bare = await latchSide();
    return await rates(ours, bare.side, effort);
  },
};
