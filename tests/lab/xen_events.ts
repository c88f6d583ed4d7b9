/**
 * What Xen reports of a guest beside accesses and debug exceptions, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_events.ts [hvm]`. A line for each case that held; an error for the first that did not.
 */
import assert from "node:assert/strict";
import {
  attach,
  DESCRIPTOR_REGISTERS,
  domains,
  flat,
  gpa,
  type Machine,
  MiB,
  open,
  type Stop,
  XCR0,
} from "../../mod.ts";

const AT = 0x1000;
const TABLE = 0x3000;
const LSTAR = 0xc000_0082n;

/** Code, and the offset of each instruction in it. */
const INSTRUCTIONS = {
  readCr3: "0f20d8", // mov rax, cr3
  other: "3408", // xor al, 8: PWT; what changes nothing is not reported
  cr3: "0f22d8", // mov cr3, rax
  leaf: "b801000000", // mov eax, 1
  cpuid: "0fa2",
  msr: "b9820000c0", // mov ecx, LSTAR
  value: "b878563412", // mov eax, 0x12345678
  high: "31d2", // xor edx, edx
  wrmsr: "0f30",
  sgdt: "0f01042500300000", // sgdt [TABLE]
  lgdt: "0f01142500300000", // lgdt [TABLE]
  hvmOp: "b822000000", // mov eax, __HYPERVISOR_hvm_op
  request: "bf18000000", // mov edi, HVMOP_guest_request_vm_event
  none: "31f6", // xor esi, esi
  vmmcall: "0f01d9",
  again: "ebc2", // to the first
};
const OFFSET = new Map<string, bigint>();
const CODE = Uint8Array.fromHex(
  Object.entries(INSTRUCTIONS).reduce((code, [name, bytes]) => {
    OFFSET.set(name, BigInt(AT + code.length / 2));
    return code + bytes;
  }, ""),
);
const behind = (name: keyof typeof INSTRUCTIONS) => OFFSET.get(name)! + BigInt(INSTRUCTIONS[name].length / 2);

const say = (what: string) => console.log(`ok ${what}`);
const guest = (backend: "xen-pvh" | "xen-hvm" = "xen-pvh") =>
  open({ backend, memory: MiB(16), boot: flat(CODE, { at: AT, mode: "long" }) });
const unsigned = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true);

/** The next stop, which is to be a report. */
async function reported(vm: Machine): Promise<Stop & { kind: "access" }> {
  const stop = await vm.continue({ timeoutMs: 60_000 });
  assert.equal(stop.kind, "access", `${stop.kind} at 0x${stop.rip.toString(16)}`);
  return stop as Stop & { kind: "access" };
}

/** One after the other, twice around: each stops once for each time, and the guest goes on as ever. */
async function each(backend: "xen-pvh" | "xen-hvm"): Promise<void> {
  await using vm = await guest(backend);
  const { cr3 } = await vm.vcpus[0].registers();
  const made = [
    await vm.breakpoints.onAccess({ space: "cr", start: 3 }),
    await vm.breakpoints.onAccess({ space: "cpuid", start: 1 }),
    await vm.breakpoints.onAccess({ space: "msr", start: LSTAR, direction: "write" }),
    await vm.breakpoints.onAccess({ space: "descriptor", start: DESCRIPTOR_REGISTERS.indexOf("gdtr") }),
    await vm.breakpoints.onAccess({ space: "request", start: 0 }),
  ];
  for (const round of [1, 2]) {
    const cr = await reported(vm);
    assert.deepEqual([cr.space, cr.address, cr.write, cr.rip], ["cr", 3n, true, behind("cr3")]);
    const values = [cr3, cr3 ^ 8n];
    assert.deepEqual([unsigned(cr.before!), unsigned(cr.data)], round === 1 ? values : values.reverse());
    assert.equal(cr.registers.cr3, unsigned(cr.data), "it has been written");
    const cpuid = await reported(vm);
    assert.deepEqual([cpuid.space, cpuid.address, cpuid.rip], ["cpuid", 1n, behind("cpuid")]);
    const view = new DataView(cpuid.data.buffer);
    assert.deepEqual(
      [0, 4, 8, 12].map((at) => BigInt(view.getUint32(at, true))),
      (["rax", "rbx", "rcx", "rdx"] as const).map((name) => cpuid.registers[name]),
    );
    assert.ok((cpuid.registers.rdx & 1n) === 1n, "CPUID.1:EDX.FPU");
    const msr = await reported(vm);
    assert.deepEqual([msr.space, msr.address, msr.write, msr.rip], ["msr", LSTAR, true, behind("wrmsr")]);
    assert.deepEqual(
      [unsigned(msr.data), unsigned(msr.before!)],
      [0x1234_5678n, round === 1 ? 0n : 0x1234_5678n],
    );
    assert.equal(await vm.vcpus[0].readMsr(Number(LSTAR)), unsigned(msr.data));
    const sgdt = await reported(vm);
    assert.deepEqual([sgdt.space, sgdt.write, sgdt.rip], ["descriptor", false, OFFSET.get("sgdt")]);
    const lgdt = await reported(vm);
    assert.deepEqual([lgdt.space, lgdt.write, lgdt.rip], ["descriptor", true, OFFSET.get("lgdt")]);
    const { gdtr_base } = lgdt.registers;
    assert.equal(await vm.memory.readUint(gpa(TABLE + 2), 8), gdtr_base, "SGDT was done");
    const request = await reported(vm);
    assert.deepEqual([request.space, request.rip], ["request", behind("vmmcall")]);
    assert.equal(request.registers.rax, 0n, "the hypercall's answer");
    assert.equal(request.registers.gdtr_base, gdtr_base);
    assert.equal(request.registers.cr3, unsigned(cr.data));
  }
  assert.deepEqual(made.map(({ hits }) => hits), [2, 2, 2, 4, 2]);
  for (const one of made) await one.remove();
  assert.equal((await vm.continue({ timeoutMs: 300 })).kind, "timeout");
  say(`${backend}: CR3, CPUID, WRMSR, SGDT and LGDT, and a request, once each time`);
}

/** With conditions, and steps through all of them. */
async function judged(): Promise<void> {
  await using vm = await guest();
  await vm.breakpoints.onAccess({ space: "cr", start: 3, condition: ({ hits }) => hits === 5 });
  const fifth = await reported(vm);
  assert.equal(fifth.breakpoint?.hits, 5);
  await vm.breakpoints.clear();
  await vm.vcpus[0].setRegisters({ rip: BigInt(AT) });
  await vm.breakpoints.onAccess({ space: "cpuid", start: 0, length: 1n << 32n, condition: () => false });
  await vm.breakpoints.onAccess({ space: "descriptor", start: 0, length: 4, condition: () => false });
  await vm.breakpoints.onAccess({ space: "cr", start: 3, condition: () => false });
  await vm.breakpoints.onAccess({ space: "request", start: 0, condition: () => false });
  const places = [...OFFSET.values(), BigInt(AT)];
  for (const place of places.slice(1)) {
    const stop = await vm.step();
    assert.deepEqual([stop.kind, stop.rip], ["step", place]);
  }
  say("a condition, and steps through instructions that are reported and don't stop");
  await vm.breakpoints.clear();
  await vm.breakpoints.onAccess({ space: "cr", start: 3 });
  assert.equal((await vm.step(2)).kind, "step");
  const stop = await vm.step();
  assert.deepEqual([stop.kind, stop.rip], ["access", behind("cr3")]);
  assert.deepEqual([(await vm.step()).rip, (await vm.step()).rip], [behind("leaf"), behind("cpuid")]);
  say("a step that is reported, and steps from there");
}

/** What is not there is refused, and what is asked for is gone when the guest is let go in the middle of it. */
async function ends(): Promise<void> {
  await using vm = await guest();
  await assert.rejects(vm.breakpoints.onAccess({ space: "cr", start: 2 }), { name: "UnsupportedError" });
  await assert.rejects(vm.breakpoints.onAccess({ space: "msr", start: LSTAR }), /reports writes alone/);
  await assert.rejects(vm.breakpoints.onAccess({ space: "descriptor", start: 4 }), { name: "InputError" });
  await vm.breakpoints.onAccess({ space: "cr", start: XCR0 });
  await vm.breakpoints.clear();
  const before = new Set((await domains()).map(({ id }) => id));
  await using other = await guest();
  const { id } = (await domains()).find((domain) => !before.has(domain.id))!;
  assert.equal((await other.continue({ timeoutMs: 200 })).kind, "timeout");
  for (const space of ["descriptor", "cpuid", "cr"] as const) {
    // A second debugger on the domain, which is the first one's listener no more: it must have none of its own.
    await using second = await attach({ backend: "xen", domain: id });
    await second.breakpoints.onAccess({
      space,
      start: space === "descriptor" ? 1 : space === "cpuid" ? 1 : 3,
    });
    assert.equal(second.state, "paused");
  }
  assert.equal((await other.continue({ timeoutMs: 200 })).kind, "timeout");
  say("what Xen does not report is refused; leaving takes it out");
}

await each("xen-pvh");
await judged();
await ends();
if (Deno.args.includes("hvm")) await each("xen-hvm");
