/** SeaBIOS boots a floppy disk, and a boot sector reads and writes it by INT 13H. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { firmware, InputError, MiB, open } from "../mod.ts";

const BIOS = "/usr/share/seabios/bios-256k.bin";
const COPY = new URL("../fixtures/floppy_copy.bin", import.meta.url);
/** Far more than it takes on a machine that others keep busy. */
const PATIENCE = { timeoutMs: 400_000 };
const CYLINDERS = 80;
const SECTORS = 18;
const BYTES = CYLINDERS * 2 * SECTORS * 512;
/** Sector 1 of cylinder 1, head 1: what the boot sector reads; it writes the next. */
const FROM = 3 * SECTORS * 512;

const bios = await Deno.stat(BIOS).then(() => true, () => false);
if (!bios) console.log(`skipped: floppy disks booted by SeaBIOS: no ${BIOS}: deno task setup`);

Deno.test({
  name: "firmware: a floppy disk boots, is read and is written, on fake",
  ignore: !bios,
  fn: async () => {
    const disk = new Uint8Array(BYTES);
    disk.set(await Deno.readFile(COPY));
    disk.set(new TextEncoder().encode("from the floppy disk\r\n"), FROM);
    const boot = firmware(BIOS, { floppy: disk, vgabios: "none" });
    await using vm = await open({ backend: "fake", memory: MiB(4), boot });
    const running = vm.continue(PATIENCE);
    await vm.console.expect("from the floppy disk", PATIENCE);
    await vm.console.expect("copied", PATIENCE);
    await vm.pause();
    assert.equal((await running).kind, "pause");
    assert.deepEqual(disk.subarray(FROM + 512, FROM + 1024), disk.subarray(FROM, FROM + 512));
    assert.deepEqual(vm.drives.map(({ name, kind }) => [name, kind]), [["fda", "floppy"]]);
  },
});

Deno.test("firmware: drives A and B, what lies in them, and what does not fit", async () => {
  const rom = new Uint8Array(0x10000).fill(0xf4);
  const boot = firmware(rom, { floppy: [new Uint8Array(BYTES), "empty"] });
  await using vm = await open({ backend: "fake", memory: MiB(4), boot });
  const [a, b] = vm.drives;
  assert.deepEqual([a.medium?.size, b.medium], [BYTES, undefined]);
  const seen = () => vm.devices.get("fdc0")!.device.inspect!();
  assert.match(String(seen().driveA), /^80\/2\/18, cylinder 0, changed/);
  b.insert!(new Uint8Array(737_280));
  assert.match(String(seen().driveB), /^80\/2\/9/);
  assert.throws(() => b.insert!(new Uint8Array(2 << 20)), InputError);
  assert.match(String(seen().driveB), /^80\/2\/9/);
  a.eject!();
  assert.match(String(seen().driveA), /^empty/);
  const kept = firmware(rom, { floppy: new Uint8Array(BYTES), snapshot: true });
  await using other = await open({ backend: "fake", memory: MiB(4), boot: kept });
  assert.equal(other.drives[0].changes?.changed, 0);
  await assert.rejects(
    open({ backend: "fake", memory: MiB(4), boot: firmware(rom, { floppy: new Uint8Array(8 << 20) }) }),
    /no floppy disk's size/,
  );
});
