import assert from "node:assert/strict";
import { type SmbiosMachine, smbiosTables } from "./smbios.ts";

const GIB = 1n << 30n;

/** The structures by type: formatted part and strings, as a reader walks them (DSP0134, 6.1). */
function walk(machine: SmbiosMachine): { type: number; view: DataView; strings: string[] }[] {
  const { anchor, structures } = smbiosTables(machine);
  const found: { type: number; view: DataView; strings: string[] }[] = [];
  let at = 0;
  let longest = 0;
  while (at < structures.length) {
    const length = structures[at + 1];
    const view = new DataView(structures.buffer, structures.byteOffset + at, length);
    let end = at + length;
    while (structures[end] !== 0 || structures[end + 1] !== 0) end++;
    const text = new TextDecoder().decode(structures.subarray(at + length, end));
    found.push({ type: structures[at], view, strings: text === "" ? [] : text.split("\0") });
    longest = Math.max(longest, end + 2 - at);
    at = end + 2;
  }
  assert.equal(at, structures.length);
  const entry = new DataView(anchor.buffer);
  assert.equal(anchor.length, 31);
  assert.equal(new TextDecoder().decode(anchor.subarray(0, 4)), "_SM_");
  assert.equal(new TextDecoder().decode(anchor.subarray(16, 21)), "_DMI_");
  assert.equal(entry.getUint16(8, true), longest);
  assert.equal(entry.getUint16(22, true), structures.length);
  assert.equal(entry.getUint16(28, true), found.length);
  return found;
}

Deno.test("smbios: every structure that a machine must have, each with a handle of its own", () => {
  const found = walk({ cpus: 2, ram: [{ start: 0n, length: GIB }] });
  assert.deepEqual(found.map(({ type }) => type), [1, 3, 4, 16, 17, 19, 32, 127]);
  assert.equal(new Set(found.map(({ view }) => view.getUint16(2, true))).size, found.length);
  assert.deepEqual(found.map(({ view }) => view.byteLength), [27, 22, 42, 23, 34, 31, 11, 4]);
  const [system, , cpu, array, module, range] = found;
  assert.equal(system.strings[0], "hvsh");
  assert.equal(cpu.view.getUint8(0x23), 2);
  assert.equal(array.view.getUint32(7, true), 1 << 20);
  assert.equal(module.view.getUint16(12, true), 1024);
  assert.deepEqual([range.view.getUint32(4, true), range.view.getUint32(8, true)], [0, (1 << 20) - 1]);
});

Deno.test("smbios: sizes that do not fit their field are told in the other one", () => {
  const found = walk({
    cpus: 300,
    ram: [{ start: 0n, length: 3n * GIB }, { start: 4n * GIB, length: 8189n * GIB }],
  });
  const by = (type: number) => found.filter((each) => each.type === type).map(({ view }) => view);
  assert.equal(by(4)[0].getUint8(0x23), 255);
  assert.equal(by(16)[0].getUint32(7, true), 0x8000_0000);
  assert.equal(by(16)[0].getBigUint64(15, true), 8192n * GIB);
  assert.equal(by(17)[0].getUint16(12, true), 0x7fff);
  assert.equal(by(17)[0].getUint32(28, true), 8192 * 1024);
  assert.equal(by(19)[1].getUint32(4, true), 0xffff_ffff);
  assert.equal(by(19)[1].getBigUint64(15, true), 4n * GIB);
});

Deno.test("smbios: a size that is no whole MiB is told in KiB", () => {
  const found = walk({ cpus: 1, ram: [{ start: 0n, length: 0x18_0000n }] });
  assert.equal(found.find(({ type }) => type === 17)!.view.getUint16(12, true), 0x8000 | 1536);
});

/** Debian's dmidecode, where it is. */
const dmidecode = ["/usr/sbin/dmidecode", "/sbin/dmidecode"].find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});
if (dmidecode === undefined) console.log("skipped, as dmidecode is not here: it reads the structures");

Deno.test({
  name: "smbios: dmidecode reads what is meant",
  ignore: dmidecode === undefined,
  fn: async () => {
    const { anchor, structures } = smbiosTables({ cpus: 4, ram: [{ start: 0n, length: 3n * GIB / 2n }] });
    const sum = (bytes: Uint8Array) => -bytes.reduce((a, b) => a + b, 0) & 0xff;
    // As firmware does, and as dmidecode's dumps are: structures from 32.
    new DataView(anchor.buffer).setUint32(24, 32, true);
    anchor[21] = sum(anchor.subarray(16));
    anchor[4] = sum(anchor);
    const dump = new Uint8Array(32 + structures.length);
    dump.set(anchor);
    dump.set(structures, 32);
    const file = await Deno.makeTempFile();
    try {
      await Deno.writeFile(file, dump);
      const run = new Deno.Command(dmidecode!, { args: ["--from-dump", file], stderr: "piped" }).outputSync();
      const said = new TextDecoder().decode(run.stdout) + new TextDecoder().decode(run.stderr);
      assert.equal(run.code, 0, said);
      assert.doesNotMatch(said, /TRUNCATED|Wrong|Invalid|OUT OF SPEC|failed/i);
      for (const part of [/SMBIOS 2\.8 present/, /Core Count: 4/, /Size: 1536 MB/, /Range Size: 1536 MB/]) {
        assert.match(said, part);
      }
    } finally {
      await Deno.remove(file);
    }
  },
});
