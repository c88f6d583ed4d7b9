import assert from "node:assert/strict";
import { eisaId, integer, nameString, packageOf, string } from "./aml.ts";
import { type AcpiPc, acpiTables } from "./pc.ts";

const AT = 0xe0000n;
const PC: AcpiPc = {
  cpus: 3,
  pm: { port: 0x600, sci: 9 },
  panicPort: 0x505,
  pci: {
    memory: [{ first: 0xe000_0000n, last: 0xfaff_ffffn }],
    ecam: { at: 0xfb00_0000n, length: 0x10_0000n },
    pirqs: [11, 10, 11, 10],
  },
  virtio: [{ at: 0xd000_0000n, length: 0x1000n, gsi: 5 }, { at: 0xd000_1000n, length: 0x1000n, gsi: 6 }],
};

/** The tables that the root pointer leads to, by signature, as a kernel finds them; every checksum is checked. */
function found(pc: AcpiPc): Map<string, Uint8Array> {
  const { at, bytes } = acpiTables(pc, AT);
  const view = new DataView(bytes.buffer);
  const text = (offset: number, length: number) =>
    new TextDecoder().decode(bytes.subarray(offset, offset + length));
  const sum = (from: number, length: number) =>
    bytes.subarray(from, from + length).reduce((a, b) => a + b, 0) & 0xff;
  assert.equal(text(0, 8), "RSD PTR ");
  assert.deepEqual([sum(0, 20), sum(0, 36)], [0, 0]);
  const tables = new Map<string, Uint8Array>();
  const take = (address: bigint) => {
    const offset = Number(address - at);
    const length = view.getUint32(offset + 4, true);
    const signature = text(offset, 4);
    if (signature !== "FACS") assert.equal(sum(offset, length), 0, signature);
    tables.set(signature, bytes.slice(offset, offset + length));
    return offset;
  };
  const rsdt = take(BigInt(view.getUint32(16, true)));
  const xsdt = take(view.getBigUint64(24, true));
  const length = view.getUint32(xsdt + 4, true);
  for (let i = 0; i < (length - 36) / 8; i++) {
    const address = view.getBigUint64(xsdt + 36 + 8 * i, true);
    assert.equal(BigInt(view.getUint32(rsdt + 36 + 4 * i, true)), address, "RSDT and XSDT list the same");
    take(address);
  }
  const fadt = new DataView(tables.get("FACP")!.buffer);
  take(BigInt(fadt.getUint32(36, true)));
  take(fadt.getBigUint64(140, true));
  return tables;
}

Deno.test("acpi: the root pointer leads to every table, and all checksums are right", () => {
  assert.deepEqual([...found(PC).keys()].sort(), [
    "APIC",
    "DSDT",
    "FACP",
    "FACS",
    "MCFG",
    "RSDT",
    "SPCR",
    "XSDT",
  ]);
  assert.equal(found({ ...PC, pci: undefined }).has("MCFG"), false);
  assert.equal(found(PC).get("FACP")!.length, 244); // revision 3
  assert.equal(found(PC).get("SPCR")!.length, 80); // revision 2
});

Deno.test("acpi: each vCPU has a local APIC", () => {
  const madt = found({ ...PC, cpus: 255 }).get("APIC")!;
  const ids: number[] = [];
  for (let at = 44; at < madt.length; at += madt[at + 1]) if (madt[at] === 0) ids.push(madt[at + 3]);
  assert.deepEqual(ids, Array.from({ length: 255 }, (_, i) => i));
});

Deno.test("acpi: the timer is at the I/O APIC's input 2, and what PCI and ACPI have is level-triggered", () => {
  const madt = found(PC).get("APIC")!;
  const view = new DataView(madt.buffer, madt.byteOffset);
  const overrides: number[][] = [];
  for (let at = 44; at < madt.length; at += madt[at + 1]) {
    if (madt[at] === 2) {
      overrides.push([madt[at + 3], view.getUint32(at + 4, true), view.getUint16(at + 8, true)]);
    }
  }
  assert.deepEqual(overrides, [[0, 2, 0], [5, 5, 13], [9, 9, 13], [10, 10, 13], [11, 11, 13]]);
});

Deno.test("acpi: AML as the specification encodes it", () => {
  assert.deepEqual([...eisaId("PNP0501")], [0x0c, 0x41, 0xd0, 0x05, 0x01]);
  assert.deepEqual([...integer(0x1234)], [0x0b, 0x34, 0x12]);
  assert.deepEqual([...integer(1n << 40n)], [0x0e, 0, 0, 0, 0, 0, 1, 0, 0]);
  assert.deepEqual([...nameString("\\_SB.PCI0")], [0x5c, 0x2e, ...new TextEncoder().encode("_SB_PCI0")]);
  assert.deepEqual([...packageOf(string("AB"))], [0x12, 0x06, 0x01, 0x0d, 0x41, 0x42, 0x00]);
  assert.throws(() => eisaId("pnp0501"), /EISA/);
  assert.throws(() => nameString("x"), /no name/);
  assert.throws(() => string("ä"), /ASCII/);
});

Deno.test("acpi: a length that takes more than one byte counts its own bytes", () => {
  const long = packageOf(string("x".repeat(100)));
  // 1 (count) + 102 (string) + 2 (the length itself) = 105 = 0x69
  assert.deepEqual([...long.slice(0, 4)], [0x12, 0x49, 0x06, 0x01]);
});

/** Debian's acpica-tools, where they are. */
const iasl = (() => {
  try {
    return new Deno.Command("iasl", { args: ["-v"], stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    console.log("skipped, as iasl is not here (package acpica-tools): ACPI's own compiler reads the tables");
    return false;
  }
})();

Deno.test({
  name: "acpi: ACPI's own compiler reads every table, and what it reads compiles again without a remark",
  ignore: !iasl,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    try {
      for (const [signature, bytes] of found(PC)) {
        if (signature === "FACS") continue;
        await Deno.writeFile(`${folder}/${signature}.dat`, bytes);
        const run = (...args: string[]) =>
          new Deno.Command("iasl", { args, cwd: folder, stdout: "piped", stderr: "piped" }).outputSync();
        const read = run("-d", `${signature}.dat`);
        const said = new TextDecoder().decode(read.stdout) + new TextDecoder().decode(read.stderr);
        assert.equal(read.code, 0, said);
        assert.doesNotMatch(said, /Error|Warning|Invalid|Incorrect/, signature);
        const again = run("-ve", `${signature}.dsl`);
        const text = new TextDecoder().decode(again.stdout) + new TextDecoder().decode(again.stderr);
        assert.match(text, /0 Errors, 0 Warnings/, `${signature}: ${text}`);
        if (signature !== "DSDT") continue;
        const source = await Deno.readTextFile(`${folder}/DSDT.dsl`);
        for (const part of [/LNRO0005/g, /QEMU0001/g, /PNP0A03/g, /PNP0C02/g, /0xD0001000/g]) {
          assert.match(source, part);
        }
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
