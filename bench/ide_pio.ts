/** Sectors read by programmed I/O, against port accesses that nothing stands behind. */

import { firmware, MiB, open } from "../mod.ts";
import { type Figure, rates, type Side } from "./figure.ts";
import { LATCH_PORT } from "./guest.ts";
import { latchSide } from "./pio.ts";

/**
 * In real mode, at the start of a ROM: 00:01.1 answers at its ports; LBA, master; then for ever READ SECTORS of one
 * sector, as a driver does it (count, address, command, status, REP INSW), and an OUT that counts.
 */
// deno-fmt-ignore
const CODE = Uint8Array.of(
  0x66, 0xb8, 0x04, 0x09, 0x00, 0x80, // mov eax, 0x80000904
  0xba, 0xf8, 0x0c, 0x66, 0xef, // mov dx, 0xcf8; out dx, eax
  0xba, 0xfc, 0x0c, 0xb8, 0x01, 0x00, 0xef, // mov dx, 0xcfc; mov ax, 1; out dx, ax
  0xba, 0xf6, 0x01, 0xb0, 0xe0, 0xee, // mov dx, 0x1f6; mov al, 0xe0; out dx, al
  0x31, 0xc0, 0x8e, 0xc0, // xor ax, ax; mov es, ax
  0xfc, 0xba, 0xf2, 0x01, 0xb0, 0x01, 0xee, // again: cld; mov dx, 0x1f2; mov al, 1; out dx, al
  0x42, 0x30, 0xc0, 0xee, 0x42, 0xee, 0x42, 0xee, // inc dx; xor al, al; out dx, al; twice inc dx; out dx, al
  0xba, 0xf7, 0x01, 0xb0, 0x20, 0xee, 0xec, // mov dx, 0x1f7; mov al, 0x20; out dx, al; in al, dx
  0xba, 0xf0, 0x01, 0xb9, 0x00, 0x01, 0xbf, 0x00, 0x40, // mov dx, 0x1f0; mov cx, 256; mov di, 0x4000
  0xf3, 0x6d, 0xba, LATCH_PORT & 0xff, LATCH_PORT >> 8, 0xee, // rep insw; mov dx, the latch; out dx, al
  0xeb, 0xd9, // jmp again
);
/** Exits of a turn where the hypervisor brings a sector's words at once. */
const EXITS = 8;

/** 64 KiB with the code at 0xf0000, where the reset vector jumps. */
function rom(): Uint8Array {
  const bytes = new Uint8Array(0x10000);
  bytes.set(CODE);
  bytes.set([0xea, 0x00, 0x00, 0x00, 0xf0], 0xfff0);
  return bytes;
}

/** The figure. */
export const idePio: Figure = {
  name: "ide-pio",
  what: "exits of READ SECTORS by PIO, one sector each; the bare pio figure's hvsh",
  goal: 0.8,
  better: "higher",
  unit: "exits/s",
  needs: ["kvm"],
  async measure(effort) {
    await using reading = await idePioSide("kvm");
    await using bare = await latchSide();
    return await rates(reading.side, bare.side, effort);
  },
};

/** A guest that reads sectors; its side counts exits. */
export async function idePioSide(
  backend: "kvm" | "fake",
): Promise<{ readonly side: Side } & AsyncDisposable> {
  const boot = firmware(rom(), { disk: new Uint8Array(MiB(1)), vgabios: "none" });
  const vm = await open({ backend, memory: MiB(16), boot });
  let left = 0;
  await vm.devices.add({
    name: "latch",
    ports: { start: LATCH_PORT, length: 1 },
    write() {
      if (--left === 0) void vm.pause();
    },
  });
  return {
    async side(exits) {
      left = Math.max(1, Math.round(exits / EXITS));
      vm.trace.clear();
      const start = performance.now();
      await vm.continue();
      const took = (performance.now() - start) * 1e6;
      // For as many as were asked for, whatever pieces this hypervisor cuts a string into.
      return took * exits / vm.trace.statistics().total;
    },
    [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose](),
  };
}
