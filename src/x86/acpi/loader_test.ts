import assert from "node:assert/strict";
import { type AcpiFiles, acpiFiles } from "./loader.ts";
import { type AcpiPc, acpiTables, TABLES } from "./pc.ts";

const PC: AcpiPc = {
  cpus: 2,
  pm: { port: 0x600, sci: 9 },
  panicPort: 0x505,
  pci: { memory: [{ first: 0x800_0000n, last: 0xfebf_ffffn }], pirqs: [10, 10, 11, 11] },
  virtio: [{ at: 0xd000_0000n, length: 0x1000n, gsi: 5 }],
};

/** How a checksum comes from the byte that is there, and what all bytes with it sum to. */
const SUMS: Readonly<Record<string, (old: number, sum: number) => number>> = {
  SeaBIOS: (old, sum) => old - sum,
  "EDK II": (_, sum) => -sum,
};

/** What firmware does with the files: each goes to its address, then pointers and checksums are made right. */
function load(
  files: AcpiFiles,
  addresses: Readonly<Record<string, bigint>>,
  summed: (old: number, sum: number) => number,
) {
  const data = new Map(
    Object.entries<Uint8Array>({ ...files }).map(([name, bytes]) => [name, bytes.slice()]),
  );
  const script = data.get("etc/table-loader")!;
  assert.equal(script.length % 128, 0);
  const view = new DataView(script.buffer);
  const name = (at: number) => new TextDecoder().decode(script.subarray(at, at + 56)).replace(/\0+$/, "");
  const allocated: string[] = [];
  for (let at = 0; at < script.length; at += 128) {
    const command = view.getUint32(at, true);
    const file = data.get(name(at + 4))!;
    if (command === 1) {
      const align = BigInt(view.getUint32(at + 60, true));
      assert.equal(addresses[name(at + 4)] % align, 0n);
      allocated.push(`${name(at + 4)} ${view.getUint8(at + 64)}`);
    } else if (command === 2) {
      const source = name(at + 60);
      const offset = view.getUint32(at + 116, true);
      const target = new DataView(file.buffer);
      if (view.getUint8(at + 120) === 4) {
        target.setUint32(offset, target.getUint32(offset, true) + Number(addresses[source]), true);
      } else target.setBigUint64(offset, target.getBigUint64(offset, true) + addresses[source], true);
    } else if (command === 3) {
      const [sum, start, length] = [60, 64, 68].map((field) => view.getUint32(at + field, true));
      file[sum] = summed(file[sum], file.subarray(start, start + length).reduce((a, b) => a + b, 0));
    } else assert.fail(`command ${command}`);
  }
  assert.deepEqual(allocated, ["etc/acpi/rsdp 2", "etc/acpi/tables 1"]);
  return data;
}

for (const [firmware, summed] of Object.entries(SUMS)) {
  Deno.test(`acpi loader: ${firmware} gets the same tables as a kernel without it, wherever it puts them`, () => {
    const at = 0x7fe_0000n;
    const addresses = { "etc/acpi/rsdp": 0xf5a00n, "etc/acpi/tables": at + BigInt(TABLES) };
    const data = load(acpiFiles(PC), addresses, summed);
    const { bytes } = acpiTables(PC, at);
    assert.deepEqual(data.get("etc/acpi/rsdp"), bytes.slice(0, 36));
    assert.deepEqual(data.get("etc/acpi/tables"), bytes.slice(TABLES));
  });
}
