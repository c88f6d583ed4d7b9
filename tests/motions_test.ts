/** Steps over calls, out of functions, until an address: on the interpreter and on KVM. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type BackendName, elf, flat, type GuestMachine, gva, hosts, open } from "../mod.ts";

const KERNEL = new URL("../fixtures/elf64.bin", import.meta.url);
const LIMIT = { timeoutMs: 20_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`skipped: motions on kvm: ${kvm?.reason}`);
const backends: BackendName[] = kvm?.usable ? ["fake", "kvm"] : ["fake"];

/** Where the guest stands: "inner+0x4". */
async function where(vm: GuestMachine): Promise<string | undefined> {
  return vm.symbols.format((await vm.vcpus[0].registers()).rip);
}

async function at(vm: GuestMachine, name: string): Promise<void> {
  const address = vm.symbols.lookup(name);
  assert.ok(address !== undefined, `the fixture has ${name}`);
  const stop = await vm.runUntil(gva(address), LIMIT);
  assert.equal(stop.kind, "step");
  assert.equal(await where(vm), name);
}

for (const backend of backends) {
  Deno.test(`${backend}: a call is one step over, with everything it calls`, async () => {
    await using vm = await open({ backend, boot: elf(KERNEL) });
    await at(vm, "outer");
    for (let i = 0; i < 4; i++) await vm.step();
    const [call] = await vm.disassemble((await vm.vcpus[0].registers()).rip, { count: 1 });
    assert.match(call.text, /^call .*<middle>/);
    const stop = await vm.stepOver(LIMIT);
    assert.equal(stop.kind, "step");
    assert.equal(stop.rip, call.address + BigInt(call.length));
    assert.equal([...vm.breakpoints].length, 0, "its own breakpoint is gone");
  });

  Deno.test(`${backend}: steps to the next call, return, jump or system call`, async () => {
    await using vm = await open({ backend, boot: elf(KERNEL) });
    await at(vm, "outer");
    await vm.stepTo("call", LIMIT);
    assert.equal(await where(vm), "outer+0xc");
    await vm.stepTo("call", { ...LIMIT, into: true });
    assert.equal(await where(vm), "middle+0xb");
    // Of the calls on the way only the last is left to see: inner is gone over, with its return.
    await vm.stepTo("jump", LIMIT);
    assert.equal(await where(vm), "middle+0x13");
    await vm.stepTo("return", { ...LIMIT, into: true });
    assert.equal(await where(vm), "inner+0xc");
    await vm.stepTo("return", LIMIT);
    assert.equal(await where(vm), "middle+0x17", "a return is run, and the next one is another function's");
    const inner = await vm.breakpoints.add(gva(vm.symbols.lookup("puts")!));
    assert.equal((await vm.stepTo("system", LIMIT)).kind, "breakpoint", "what stops before is told");
    await inner.remove();
    // Nothing of the kind comes any more: the time limit ends it, or the guest's own exit.
    assert.equal((await vm.stepTo("system", LIMIT)).kind, "exit");
    await assert.rejects(vm.stepTo("nothing" as "call"), /no kind of instruction "nothing"/);
  });

  Deno.test(`${backend}: many steps over are one run, which a pause ends wherever it comes`, async () => {
    await using vm = await open({ backend, boot: elf(KERNEL) });
    await at(vm, "outer");
    assert.equal((await vm.stepOver({ count: 5, ...LIMIT })).kind, "step");
    assert.equal(await where(vm), "outer+0x11", "the call is one of them");
    await assert.rejects(vm.stepOver({ count: 0 }), /a whole number from 1/);
    // inc ax; jmp back
    await using loop = await open({ backend, memory: 1 << 20, boot: flat(Uint8Array.of(0x40, 0xeb, 0xfd)) });
    for (let i = 0; i < 20; i++) {
      const going = loop.stepOver({ count: 1_000_000_000 });
      // A turn may come between two steps: the guest counts as running there too.
      await new Promise((resolve) => setTimeout(resolve, i));
      assert.equal(loop.state, "running");
      assert.equal((await loop.pause()).kind, "pause");
      assert.equal((await going).kind, "pause");
    }
  });

  Deno.test(`${backend}: a breakpoint inside the call stops the step over`, async () => {
    await using vm = await open({ backend, boot: elf(KERNEL) });
    await at(vm, "outer");
    for (let i = 0; i < 4; i++) await vm.step();
    const inner = await vm.breakpoints.add(gva(vm.symbols.lookup("inner")!));
    const stop = await vm.stepOver(LIMIT);
    assert.equal(stop.kind, "breakpoint");
    assert.equal(stop.kind === "breakpoint" && stop.breakpoint, inner);
    assert.equal([...vm.breakpoints].length, 1);
  });

  Deno.test(`${backend}: a recursive call is stepped over as a whole`, async () => {
    // f: dec ecx; jz out; call f; nop; out: ret. Entered by call f with ecx = 4.
    const code = Uint8Array.of(
      ...[0xb9, 4, 0, 0, 0], // mov ecx, 4
      ...[0xe8, 2, 0, 0, 0], // call f
      ...[0xfa, 0xf4], // cli; hlt
      ...[0xff, 0xc9], // f: dec ecx
      ...[0x74, 0x06], // jz out
      ...[0xe8, 0xf7, 0xff, 0xff, 0xff], // call f
      0x90,
      0xc3,
    );
    await using vm = await open({ backend, boot: flat(code, { at: 0x100000, mode: "long" }) });
    await vm.step(4);
    const before = await vm.vcpus[0].registers();
    assert.equal(before.rip, 0x100010n, "at the inner call, three levels to go");
    const stop = await vm.stepOver(LIMIT);
    assert.equal(stop.rip, 0x100015n);
    assert.equal(stop.registers.rsp, before.rsp);
    assert.equal(stop.registers.rcx, 0n);
  });

  Deno.test(`${backend}: out of a function, loops and calls on the way`, async () => {
    await using vm = await open({ backend, boot: elf(KERNEL) });
    await at(vm, "middle");
    await vm.step(5);
    const stop = await vm.stepOut(LIMIT);
    assert.equal(stop.kind, "step");
    assert.match(await where(vm) ?? "", /^outer\+/);
    assert.equal(await vm.vcpus[0].memory.readUint(gva(vm.symbols.lookup("total")!), 8), 55n);
  });

  Deno.test(`${backend}: REP is one step over`, async () => {
    // mov edi, 0x5000; mov ecx, 8; rep stosb; cli; hlt
    const code = Uint8Array.of(0xbf, 0, 0x50, 0, 0, 0xb9, 8, 0, 0, 0, 0xf3, 0xaa, 0xfa, 0xf4);
    await using vm = await open({ backend, boot: flat(code, { mode: "protected" }) });
    await vm.step(2);
    if (backend === "fake") {
      // A processor traps after each iteration; a hypervisor that emulates the instruction may do all of it.
      assert.equal((await vm.step()).registers.rcx, 7n);
    }
    const stop = await vm.stepOver(LIMIT);
    assert.equal(stop.registers.rcx, 0n);
    assert.equal(stop.rip, 0x10000cn);
  });

  Deno.test(`${backend}: a time limit ends a motion that does not arrive`, async () => {
    await using vm = await open({ backend, boot: flat(Uint8Array.of(0xeb, 0xfe)) });
    assert.equal((await vm.runUntil(gva(0x2000), { timeoutMs: 50 })).kind, "timeout");
    assert.equal((await vm.stepOut({ timeoutMs: 50 })).kind, "timeout");
    assert.equal([...vm.breakpoints].length, 0);
  });
}
