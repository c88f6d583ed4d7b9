/** SeaBIOS boots disks and CDs through the public API, and boot sectors that only know the BIOS answer. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import {
  type BlockBacking,
  type DriveSource,
  firmware,
  gpa,
  type GuestMachine,
  gva,
  hosts,
  MiB,
  open,
} from "../mod.ts";

const BIOS = "/usr/share/seabios/bios-256k.bin";
const SECTOR = 512;
/** Far more than it takes in a lab that others keep busy. */
const PATIENCE = { timeoutMs: 240_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const bios = await Deno.stat(BIOS).then(() => true, () => false);
const missing = !kvm?.usable ? `no KVM: ${kvm?.reason}` : bios ? undefined : `no ${BIOS}: deno task setup`;
if (missing !== undefined) console.log(`skipped: disks and CDs booted by SeaBIOS: ${missing}`);

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `firmware: ${name}`, ignore: missing !== undefined, fn });
}

/** A disk of 1 MiB whose boot sector prints, echoes and saves what is typed. */
async function helloDisk(): Promise<Uint8Array> {
  const disk = new Uint8Array(1 << 20);
  disk.set(await Deno.readFile(new URL("../fixtures/bios_hello.bin", import.meta.url)));
  return disk;
}

/** Types a line into the boot sector of `helloDisk`; `verdict` is what it says about saving it. */
async function saveLine(vm: GuestMachine, line: string, verdict: string): Promise<void> {
  const running = vm.continue(PATIENCE);
  await vm.console.expect("hello from the disk", PATIENCE);
  await vm.console.send(`${line}\r`);
  await vm.console.expect(line, PATIENCE);
  await vm.console.expect(verdict, PATIENCE);
  await vm.console.send("\x1b");
  assert.equal((await running).kind, "halt");
}

/** What firmware leaves between 0xf0000 and 0xfffff, at a multiple of 16, for kernels that search for it. */
async function entryPoint(vm: GuestMachine, signature: string, bytes: number): Promise<DataView> {
  const segment = await vm.memory.read(gpa(0xf0000n), 0x10000);
  let at = 0;
  while (at < segment.length && text(segment, at, signature.length) !== signature) at += 16;
  assert.ok(at < segment.length, `firmware left ${signature}`);
  return new DataView(segment.slice(at, at + bytes).buffer);
}

/** The firmware has put the tables that it was given by fw_cfg where it likes, and they lead to each other. */
async function usesOurAcpi(vm: GuestMachine): Promise<void> {
  const root = await entryPoint(vm, "RSD PTR ", 36);
  const sum = (bytes: Uint8Array) => bytes.reduce((a, b) => a + b, 0) & 0xff;
  assert.equal(sum(new Uint8Array(root.buffer)), 0);
  const signatures: string[] = [];
  const table = async (address: bigint) => {
    const length = new DataView((await vm.memory.read(gpa(address), 8)).slice().buffer).getUint32(4, true);
    const bytes = (await vm.memory.read(gpa(address), length)).slice();
    const signature = text(bytes, 0, 4);
    signatures.push(signature);
    if (signature !== "FACS") assert.deepEqual([sum(bytes), text(bytes, 10, 4)], [0, "HVSH"], signature);
    return new DataView(bytes.buffer);
  };
  const xsdt = await table(root.getBigUint64(24, true));
  for (let entry = 36; entry < xsdt.byteLength; entry += 8) {
    const found = await table(xsdt.getBigUint64(entry, true));
    if (signatures.at(-1) !== "FACP") continue;
    await table(BigInt(found.getUint32(36, true)));
    await table(BigInt(found.getUint32(40, true)));
    assert.equal(found.getUint32(76, true), 0x608, "the port of the timer, where SeaBIOS put it");
  }
  assert.deepEqual(signatures, ["XSDT", "FACP", "FACS", "DSDT", "APIC", "SPCR"]);
}

/** The firmware's SMBIOS entry point leads to structures that begin with what it was given by fw_cfg and its own. */
async function usesOurSmbios(vm: GuestMachine): Promise<void> {
  const entry = await entryPoint(vm, "_SM_", 31);
  const structures = await vm.memory.read(gpa(BigInt(entry.getUint32(24, true))), entry.getUint16(22, true));
  assert.match(text(structures, 0, structures.length), /SeaBIOS.*hvsh\0PC \(i440FX, PIIX3\)/s);
}

const text = (bytes: Uint8Array, at: number, length: number) =>
  new TextDecoder().decode(bytes.subarray(at, at + length));

test("a disk's boot sector is reached at 0x7c00, prints and reads keys by the BIOS, and writes its disk", async () => {
  const disk = await helloDisk();
  await using vm = await open({ backend: "kvm", memory: MiB(32), boot: firmware(BIOS, { disk }) });
  await vm.breakpoints.add(gva(0x7c00n), { once: true });
  const stop = await vm.continue(PATIENCE);
  assert.equal(stop.kind, "breakpoint");
  assert.equal(stop.registers.rdx & 0xffn, 0x80n, "DL is the first hard disk");
  assert.deepEqual(await vm.vcpus[0].memory.read(gva(0x7c00n), SECTOR), disk.subarray(0, SECTOR));
  await usesOurSmbios(vm);
  await usesOurAcpi(vm);
  await saveLine(vm, "kept", "saved");
  assert.equal(text(disk, SECTOR, 5), "kept\0");
  assert.deepEqual(vm.drives.map((d) => [d.name, d.kind, d.medium?.size]), [["hda", "disk", 1 << 20]]);
});

test("a snapshot keeps the disk's file as it is, until it is committed", async () => {
  const file = await Deno.makeTempFile({ suffix: ".img" });
  try {
    await Deno.writeFile(file, await helloDisk());
    const boot = firmware(BIOS, { disk: file, snapshot: true });
    await using vm = await open({ backend: "kvm", memory: MiB(32), boot });
    await saveLine(vm, "beside", "saved");
    assert.equal(text(await Deno.readFile(file), SECTOR, 1), "\0");
    const { changes } = vm.drives[0];
    assert.ok(changes !== undefined && changes.changed > 0);
    assert.equal(changes.commit(), undefined);
    assert.equal(text(await Deno.readFile(file), SECTOR, 7), "beside\0");
  } finally {
    await Deno.remove(file);
  }
});

const MISHAPS: {
  readonly what: string;
  readonly happens: (file: string) => Promise<void>;
  readonly told: RegExp;
}[] = [
  { what: "vanishes", happens: (file) => Deno.remove(file), told: /was removed or replaced/ },
  { what: "shrinks", happens: (file) => Deno.truncate(file, SECTOR), told: /now ends at 512/ },
];
for (const { what, happens, told } of MISHAPS) {
  test(`a disk whose file ${what}: the guest gets an error, the user a notice`, async () => {
    const file = await Deno.makeTempFile({ suffix: ".img" });
    await Deno.writeFile(file, await helloDisk());
    await using vm = await open({ backend: "kvm", memory: MiB(32), boot: firmware(BIOS, { disk: file }) });
    await vm.breakpoints.add(gva(0x7c00n), { once: true });
    assert.equal((await vm.continue(PATIENCE)).kind, "breakpoint");
    const heard: string[] = [];
    using _listener = vm.onNotice((notice) => heard.push(notice));
    await happens(file);
    await saveLine(vm, "lost", "error");
    assert.deepEqual(heard, vm.notices);
    assert.ok(heard[0].includes(file), heard[0]);
    assert.match(heard[0], told);
    await Deno.remove(file).catch(() => {}); // it is gone in one of the two
  });
}

/** What the host answers (ENOSPC, EIO) is told to the guest by the drive, and to the user in the host's words. */
for (const kind of ["full", "unwritable"] as const) {
  test(`a disk whose file is ${kind}: the guest gets an error, the user a notice`, async () => {
    const bytes = await helloDisk();
    const disk: BlockBacking = {
      name: "disk.img",
      size: bytes.length,
      readOnly: false,
      read: (at, into) => void into.set(bytes.subarray(at, at + into.length)),
      write: () => ({ kind, message: `disk.img is ${kind}`, remedy: "look at its file system" }),
      flush: () => undefined,
    };
    await using vm = await open({ backend: "kvm", memory: MiB(32), boot: firmware(BIOS, { disk }) });
    await saveLine(vm, "lost", "error");
    assert.equal(vm.notices.length, 1);
    assert.match(vm.notices[0], new RegExp(`disk.img is ${kind}.*look at its file system`, "s"));
  });
}

test("a CD with an El Torito boot image is booted before the disk if that is asked for", async () => {
  const cdrom = await bootableCd();
  const sources: { disk: DriveSource; cdrom: DriveSource } = { disk: await helloDisk(), cdrom };
  const boot = firmware(BIOS, { ...sources, order: ["cdrom", "disk"] });
  await using vm = await open({ backend: "kvm", memory: MiB(32), boot });
  await vm.breakpoints.add(gva(0x7c00n), { once: true });
  const stop = await vm.continue(PATIENCE);
  assert.equal(stop.kind, "breakpoint");
  assert.notEqual(stop.registers.rdx & 0xffn, 0x80n, "DL is the CD");
  await saveLine(vm, "x", "error");
});

/** The least that SeaBIOS boots: a boot record, a boot catalogue, an image without emulation (El Torito 1.0). */
async function bootableCd(): Promise<Uint8Array> {
  const BLOCK = 2048;
  const cd = new Uint8Array(24 * BLOCK);
  const view = new DataView(cd.buffer);
  const put = (at: number, what: string) => cd.set(new TextEncoder().encode(what), at);
  put(16 * BLOCK, "\x01CD001\x01");
  put(17 * BLOCK, "\0CD001\x01EL TORITO SPECIFICATION");
  view.setUint32(17 * BLOCK + 0x47, 19, true);
  put(18 * BLOCK, "\xffCD001\x01");
  const catalogue = 19 * BLOCK;
  cd[18 * BLOCK] = 0xff;
  cd[catalogue] = 1;
  view.setUint16(catalogue + 0x1e, 0xaa55, true);
  view.setUint16(catalogue + 0x1c, 0x10000 - 0xaa55 - 1, true);
  cd[catalogue + 0x20] = 0x88; // bootable, no emulation
  view.setUint16(catalogue + 0x26, 1, true); // sectors of 512 bytes
  view.setUint32(catalogue + 0x28, 20, true);
  cd.set(await Deno.readFile(new URL("../fixtures/bios_hello.bin", import.meta.url)), 20 * BLOCK);
  return cd;
}
