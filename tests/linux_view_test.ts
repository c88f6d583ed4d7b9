/** What hvsh sees of a Linux guest from outside, on a kernel made for the test: both layouts of what has changed. */
import assert from "node:assert/strict";
import { MOCK_LOG, MOCK_PHYSICAL, MOCK_TEXT, MockKernel } from "../src/linux/mock_kernel.ts";
import { mockGuest } from "./linux/mock_guest.ts";

for (const order of ["4.20", "6.4"] as const) {
  Deno.test(`linux: a kernel is found, named and placed (layout of ${order})`, async () => {
    const kernel = new MockKernel({ order });
    await using vm = await mockGuest(kernel);
    assert.throws(() => vm.require("linux"), { name: "UnsupportedError" });
    const info = await vm.linux.locate();
    vm.require("linux");
    assert.equal(info.release, "6.9.0-mock");
    assert.deepEqual([info.text, info.physical, info.kaslr], [MOCK_TEXT, MOCK_PHYSICAL, 0x300_0000n]);
    assert.equal(info.moved, MOCK_PHYSICAL - 0x100_0000n);
    assert.equal(info.symbols, kernel.symbols.length);
    assert.deepEqual([info.modules, info.moduleSymbols], [2, 4]);
    for (const { name, address, type } of kernel.symbols) {
      assert.equal(vm.symbols.lookup(name), address, `${type} ${name}`);
    }
    assert.equal(vm.symbols.format(0xffff_ffff_c001_0104n), "upper_data+0x4");
  });

  Deno.test(`linux: log, modules, tasks and stacks (layout of ${order})`, async () => {
    await using vm = await mockGuest(new MockKernel({ order }));
    // Four descriptors: the first record has gone. The last one's text is at the start of the ring.
    const log = await vm.linux.log();
    assert.deepEqual(log.map(({ text }) => text), MOCK_LOG.slice(1));
    assert.deepEqual(log.map(({ level }) => level), [1, 2, 3, 4]);
    assert.equal(
      await vm.linux.dmesg(),
      "[    1.500000] two\n               lines\n\n[    4.500000] the end of the ring is near\n" +
        "[    6.000000] and round it goes 20\n",
    );
    const { modules } = await vm.linux.modules();
    assert.deepEqual(modules.map(({ name, references, usedBy }) => [name, references, usedBy]), [
      ["upper", 0, []],
      ["lower", 1, ["upper"]],
    ]);
    assert.deepEqual(modules.map(({ size }) => size), order === "6.4" ? [0x1800, 0x1800] : [0x1000, 0x1000]);
    const { tasks, damage } = await vm.linux.tasks({ threads: true });
    assert.equal(damage, undefined);
    assert.deepEqual(tasks.map(({ pid, name, state, kernel }) => [pid, name, state, kernel]), [
      [1, "init\\x1b[2J", "S", false],
      [2, "kthreadd", "I", true],
    ]);
    assert.equal((await vm.linux.current(0))?.pid, 1);
    const page = await vm.linux.readProcess(1, 0x1000n, 19);
    assert.equal(new TextDecoder().decode(page), "a page of process 1");
    await assert.rejects(vm.linux.readProcess(1, 0x5000n, 1), { name: "FaultError" });
    await assert.rejects(vm.linux.readProcess(2, 0x1000n, 1), { name: "InputError" });

    await vm.linux.locate();
    const { frames, reason } = await vm.backtrace();
    assert.deepEqual(frames.map(({ address }) => vm.symbols.format(address)), [
      "inner+0x8",
      "outer+0x10",
      "many_kernel_8",
    ]);
    assert.equal(reason, "the stack of a kernel thread ends here");
    assert.equal(frames[1].framePointer, 0x99n);
    const asleep = await vm.linux.backtrace({ task: 2 });
    assert.deepEqual(asleep.frames.map(({ address }) => vm.symbols.format(address)), [
      "outer+0x10",
      "many_kernel_8",
    ]);
    await assert.rejects(vm.linux.backtrace({ task: 1 }), /runs on vCPU 0/);
  });
}

Deno.test("linux: the kernel is found without a vCPU that helps, and told from what only looks like one", async () => {
  const kernel = new MockKernel({ order: "6.4" });
  await using vm = await mockGuest(kernel);
  await vm.vcpus[0].setRegisters({ cr0: 0x11n, cr4: 0n, efer: 0n, rip: 0n });
  // A copy of the tables whose image is not there: a kernel that ran before.
  const tables = kernel.at(kernel.places.get("kallsyms")!);
  await vm.memory.write(0x10_0000n, kernel.bytes.subarray(tables, kernel.end));
  assert.equal((await vm.linux.locate()).physical, MOCK_PHYSICAL);
});

Deno.test("linux: a reset forgets the kernel, and one that is gone is not taken for there", async () => {
  const kernel = new MockKernel({ order: "6.4" });
  await using vm = await mockGuest(kernel);
  await vm.linux.locate();
  await vm.memory.fill(MOCK_PHYSICAL, kernel.end - Number(MOCK_PHYSICAL), 0);
  await assert.rejects(vm.linux.dmesg(), { name: "UnsupportedError", feature: "linux" });
  assert.equal(vm.linux.info, undefined);
  // Its stack is then walked as any other's.
  assert.equal((await vm.backtrace()).frames.length, 1);
});

Deno.test("linux: lists that loop or lead nowhere end, and say so; what is sound is told", async () => {
  const kernel = new MockKernel({ order: "6.4" });
  await using vm = await mockGuest(kernel);
  const pointer = (at: bigint, value: bigint) => vm.memory.writeUint(BigInt(kernel.at(at)), 8, value);
  const head = kernel.places.get("modules")!;
  const first = await vm.memory.readUint(BigInt(kernel.at(head)), 8);
  const second = await vm.memory.readUint(BigInt(kernel.at(first)), 8);
  await pointer(second, first);
  const looped = await vm.linux.modules();
  assert.deepEqual(looped.modules.map(({ name }) => name), ["upper", "lower"]);
  assert.match(looped.damage ?? "", /comes back/);
  await pointer(second, 0x1234n);
  assert.match((await vm.linux.modules()).damage ?? "", /not mapped/);
  await pointer(second, head);
  // The symbol table of one module, at 128 of its struct module, which starts 8 before its list_head.
  await pointer(first - 8n + 128n, 0x1000n);
  const info = await vm.linux.locate();
  assert.match(info.damage ?? "", /^symbols of upper: .* is not mapped/);
  assert.deepEqual([info.modules, info.moduleSymbols], [2, 2]);
});

Deno.test("linux: symbols of a System.map are moved to where the kernel is", async () => {
  await using vm = await mockGuest(new MockKernel({ order: "6.4" }));
  const map = "ffffffff81000000 T _text\nffffffff81000400 t only_in_the_map\n";
  assert.deepEqual(await vm.linux.addSymbols("System.map", map), { count: 2, bias: 0x300_0000n });
  assert.equal(vm.symbols.lookup("only_in_the_map"), MOCK_TEXT + 0x400n);
  await assert.rejects(vm.linux.addSymbols("map", "1000 T start\n"), { name: "InputError" });
});

Deno.test("linux: a breakpoint goes by the name of a function", async () => {
  await using vm = await mockGuest(new MockKernel({ order: "4.20" }));
  await vm.linux.locate();
  const bp = await vm.breakpoints.add(vm.symbols.lookup("outer")!);
  assert.equal(bp.address, MOCK_TEXT + 0x1000n);
});
