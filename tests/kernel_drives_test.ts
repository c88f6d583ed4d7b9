/** IDE drives of guests that no firmware boots. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type BackendName, bootSector, firmware, flat, type GuestMachine, hosts, MiB, open } from "../mod.ts";

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`skipped: drives of kernels on kvm: ${kvm?.reason}`);

/** IDENTIFY's command, READ SECTORS' of LBA 1, and the 512 bytes of it at 0x5000, in real mode. */
const READ = flat(Uint8Array.of(
  ...[0xba, 0xf2, 0x01, 0xb0, 1, 0xee], // sector count 1
  ...[0x42, 0xee], // LBA 1
  ...[0x42, 0xb0, 0, 0xee, 0x42, 0xee], // the other bytes of it are 0
  ...[0x42, 0xb0, 0xe0, 0xee], // master, LBA
  ...[0x42, 0xb0, 0x20, 0xee], // READ SECTORS
  ...[0xec, 0xa8, 0x08, 0x74, 0xfb], // until DRQ
  ...[0xba, 0xf0, 0x01, 0xb9, 0, 1, 0xbf, 0, 0x50, 0xf3, 0x6d], // rep insw to 0x5000
  ...[0xf4],
));

for (const backend of ["fake", "kvm"] satisfies BackendName[]) {
  Deno.test({
    name: `kernel drives: a program without firmware reads the disk of open() (${backend})`,
    ignore: backend === "kvm" && !kvm?.usable,
    fn: async () => {
      const disk = new Uint8Array(64 * 512);
      disk.fill(0x5a, 512, 1024);
      await using vm: GuestMachine = await open({ backend, memory: MiB(2), boot: READ, disk });
      assert.deepEqual(vm.drives.map(({ name, kind }) => [name, kind]), [["hda", "disk"]]);
      const stop = await vm.continue({ timeoutMs: 60_000 });
      assert.equal(stop.kind, "halt");
      const sector = await vm.memory.read(0x5000n, 512);
      assert.ok(sector.every((byte) => byte === 0x5a));
    },
  });
}

Deno.test("kernel drives: what makes no sense is refused", async () => {
  const disk = new Uint8Array(512);
  const rom = new Uint8Array(0x10000).fill(0xf4);
  await assert.rejects(
    open({ backend: "fake", boot: firmware(rom, { disk }), disk }),
    { name: "InputError", message: /disk is given to open\(\) and to firmware\(\)/ },
  );
  await assert.rejects(
    open({ backend: "fake", boot: READ, disk, defaultDevices: false }),
    { name: "UnsupportedError", message: /^drives can't be had here/ },
  );
});

Deno.test({
  name:
    "kernel drives: a program that sleeps until each interrupt of its disk is not taken for one that nothing wakes",
  ignore: !kvm?.usable,
  fn: async () => {
    // It reads 64 MiB, 128 KiB at a time, and says ETX.
    const boot = bootSector(new URL("../fixtures/disk_read.bin", import.meta.url));
    await using vm = await open({ backend: "kvm", memory: MiB(64), boot, disk: new Uint8Array(MiB(64)) });
    const stop = await vm.continue({ timeoutMs: 240_000 });
    assert.equal(stop.kind, "halt");
    assert.equal(vm.console.text, "\x02\x03");
  },
});
