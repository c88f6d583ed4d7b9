/** Breaks on what a hypervisor reports, on the fake: tests/lab/xen_events.ts has the same on Xen. */
import assert from "node:assert/strict";
import { flat, gva, type Machine, open, type Stop, XCR0 } from "../mod.ts";

/** In real mode at 0x1000: mov eax, 8; mov cr3, eax; mov cr3, eax; mov eax, 1; cpuid; clts; jmp back */
const CODE = Uint8Array.fromHex("66b808000000 0f22d8 0f22d8 66b801000000 0fa2 0f06 ebe8".replaceAll(" ", ""));
const BEHIND = { cr3: 0x1009n, cpuid: 0x1014n, clts: 0x1016n };
const guest = (code = CODE) => open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });

async function reported(vm: Machine): Promise<Stop & { kind: "access" }> {
  const stop = await vm.continue({ timeoutMs: 10_000 });
  assert.equal(stop.kind, "access");
  return stop as Stop & { kind: "access" };
}

Deno.test("reports: what changes a control register stops behind it, with the value before", async () => {
  await using vm = await guest();
  await vm.vcpus[0].setRegisters({ cr0: 0x18n });
  await vm.breakpoints.onAccess({ space: "cr", start: 0, length: XCR0 + 1 });
  const cr3 = await reported(vm);
  assert.deepEqual([cr3.space, cr3.address, cr3.write, cr3.rip], ["cr", 3n, true, BEHIND.cr3]);
  assert.deepEqual([cr3.data[0], cr3.before?.[0], cr3.registers.cr3], [8, 0, 8n]);
  const clts = await reported(vm);
  assert.deepEqual([clts.address, clts.rip, clts.data[0], clts.before?.[0]], [0n, BEHIND.clts, 0x10, 0x18]);
  // From now on nothing changes.
  assert.equal((await vm.continue({ timeoutMs: 50 })).kind, "timeout");
});

Deno.test("reports: CPUID stops behind it with its answer; a condition sees it, and a step ends there", async () => {
  await using vm = await guest();
  const seen: bigint[] = [];
  const one = await vm.breakpoints.onAccess({
    space: "cpuid",
    start: 1,
    condition: ({ hits, address, registers, data }) => {
      seen.push(address);
      assert.equal(BigInt(new DataView(data.buffer).getUint32(12, true)), registers.rdx);
      return hits === 3;
    },
  });
  const stop = await reported(vm);
  assert.deepEqual([stop.rip, stop.write, seen], [BEHIND.cpuid, false, [1n, 1n, 1n]]);
  one.condition = () => false;
  await vm.vcpus[0].setRegisters({ rip: 0x1012n, rax: 1n });
  assert.deepEqual([(await vm.step()).kind, vm.lastStop?.rip], ["step", BEHIND.cpuid]);
  one.condition = undefined;
  await vm.vcpus[0].setRegisters({ rip: 0x1012n, rax: 1n });
  assert.deepEqual([(await vm.step()).kind, vm.lastStop?.rip], ["access", BEHIND.cpuid]);
  await one.remove();
  assert.equal((await vm.continue({ timeoutMs: 50 })).kind, "timeout");
});

Deno.test("reports: what a backend does not report is refused, with the reason", async () => {
  await using vm = await guest();
  const { breakpoints } = vm;
  await assert.rejects(breakpoints.onAccess({ space: "descriptor", start: 1 }), { name: "UnsupportedError" });
  await assert.rejects(breakpoints.onAccess({ space: "request", start: 0 }), { name: "UnsupportedError" });
  await assert.rejects(breakpoints.onAccess({ space: "cr", start: XCR0, length: 2 }), { name: "InputError" });
  assert.deepEqual([...breakpoints], []);
});

Deno.test("breaks on MSRs: one that is removed or switched off leaves no access trapped", async () => {
  // At 0x1000: mov ecx, 0x174; 0x1006: rdmsr; jmp 0x1006
  await using vm = await guest(Uint8Array.fromHex("66b974010000 0f32 ebfc".replaceAll(" ", "")));
  const trapped = async () => {
    const before = vm.trace.entries().filter(({ kind }) => kind === "msr").length;
    await vm.breakpoints.add(gva(0x1006n), { once: true, ignore: 3 });
    await vm.continue({ timeoutMs: 10_000 });
    return vm.trace.entries().filter(({ kind }) => kind === "msr").length - before;
  };
  const one = await vm.breakpoints.onAccess({ space: "msr", start: 0x174, condition: () => false });
  assert.ok(await trapped() > 0);
  await one.enable(false);
  assert.equal(await trapped(), 0);
  await one.enable(true);
  assert.ok(await trapped() > 0);
  await one.remove();
  assert.equal(await trapped(), 0);
});
