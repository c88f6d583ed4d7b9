/** ELF core files of guests: what is in them, and what gdb makes of one. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { flat, open } from "../mod.ts";
import { MOCK_PHYSICAL, MOCK_TEXT, MockKernel } from "../src/linux/mock_kernel.ts";
import { elfNotes, parseElf, PT_LOAD } from "../src/x86/elf.ts";
import { gdb, has } from "./gdb_programs.ts";
import { mockGuest } from "./linux/mock_guest.ts";

Deno.test("core: memory by physical and linear address, registers, VMCOREINFO", async () => {
  const kernel = new MockKernel({ order: "6.4" });
  await using vm = await mockGuest(kernel);
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/core`;
    const done = await vm.dumpCore(path);
    assert.deepEqual([done.path, done.vmcoreinfo, done.segments], [path, true, vm.memory.regions.length]);
    const bytes = await Deno.readFile(path);
    assert.equal(BigInt(bytes.length), done.bytes);
    const file = parseElf(bytes);
    assert.deepEqual([file.type, file.bits], [4, 64]);
    const loads = file.segments.filter(({ type }) => type === PT_LOAD);
    assert.deepEqual([loads[0].vaddr, loads[0].paddr], [MOCK_TEXT, MOCK_PHYSICAL]);
    // The direct map of the mock starts at the usual place.
    assert.deepEqual(
      loads.slice(1).map(({ paddr, vaddr, memsz }) => [paddr, vaddr, memsz]),
      vm.memory.regions.map(({ start, size }) => [start, 0xffff_8880_0000_0000n + start, size]),
    );
    const contents = (n: number) =>
      bytes.subarray(Number(loads[n].offset), Number(loads[n].offset + loads[n].filesz));
    assert.deepEqual(
      contents(0).subarray(0, kernel.end - Number(MOCK_PHYSICAL)),
      await vm.memory.read(MOCK_PHYSICAL, kernel.end - Number(MOCK_PHYSICAL)),
    );
    for (const [n, { start, size }] of vm.memory.regions.entries()) {
      assert.deepEqual(contents(n + 1), await vm.memory.read(start, Number(size)));
    }
    const notes = [...elfNotes(file)];
    assert.deepEqual(notes.map(({ name, type }) => [name, type]), [["CORE", 1], ["VMCOREINFO", 0]]);
    const status = notes[0].description;
    assert.equal(status.length, 336);
    const rip = new DataView(status.buffer, status.byteOffset).getBigUint64(112 + 16 * 8, true);
    assert.equal(rip, kernel.registers.rip);
    assert.equal(new TextDecoder().decode(notes[1].description), await vm.linux.vmcoreinfo());
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("core: a guest without Linux has one too; one that can't be written is told of and leaves nothing", async () => {
  await using vm = await open({ backend: "fake", memory: 1 << 20, cpus: 1, boot: flat(Uint8Array.of(0xf4)) });
  const folder = await Deno.makeTempDir();
  try {
    const done = await vm.dumpCore(`${folder}/core`);
    assert.equal(done.vmcoreinfo, false);
    const file = parseElf(await Deno.readFile(done.path));
    const loads = file.segments.filter(({ type }) => type === PT_LOAD);
    assert.ok(loads.every(({ vaddr, paddr }) => vaddr === paddr));
    await assert.rejects(vm.dumpCore(`${folder}/none/core`), { name: "InputError" });
    await Deno.remove(done.path);
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const GDB = has("gdb");
if (!GDB) console.log("core files in gdb: skipped, there is no gdb");

Deno.test({
  name: "core: gdb opens it, and reads the kernel by its linear addresses",
  ignore: !GDB,
  fn: async () => {
    const kernel = new MockKernel({ order: "6.4" });
    await using vm = await mockGuest(kernel);
    const folder = await Deno.makeTempDir();
    try {
      await vm.dumpCore(`${folder}/core`);
      const banner = kernel.symbols.find(({ name }) => name === "linux_banner")!.address;
      const direct = 0xffff_8880_0000_0000n + BigInt(kernel.at(banner));
      const said = await gdb("", [
        `core-file ${folder}/core`,
        "info threads",
        'printf "rip %#lx rsp %#lx\\n", $rip, $rsp',
        `x/s 0x${banner.toString(16)}`,
        `x/s 0x${direct.toString(16)}`,
      ], "");
      assert.match(said, /LWP 1/);
      const { rip, rsp } = kernel.registers;
      assert.match(said, new RegExp(`rip 0x${rip.toString(16)} rsp 0x${rsp.toString(16)}`));
      assert.equal(said.match(/"Linux version 6\.9\.0-mock/g)?.length, 2, said);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
