import "../host/preload.ts";
import assert from "node:assert/strict";
import fc from "fast-check";
import {
  VM_EVENT,
  vm_event_cpuid,
  vm_event_desc_access,
  vm_event_mov_to_msr,
  vm_event_regs_x86,
  vm_event_write_ctrlreg,
  XEN,
} from "../abi/xen.ts";
import { XCR0 } from "../vm/exit.ts";
import { finishedByXen } from "./emulated.ts";
import { Reported, reportIn } from "./reports.ts";

/** Writes down what Xen is asked; `refuse` throws where it is to refuse. */
function control(refuse: (call: string) => boolean = () => false) {
  const on = new Set<string>();
  const ask = (name: string, now: boolean) => {
    if (refuse(name)) throw new Error(`${name} is refused`);
    if (now) on.add(name);
    else assert.ok(on.delete(name), `${name} was on`);
  };
  return {
    on,
    reportControlRegister: (_: number, index: number, now: boolean) => ask(`cr${index}`, now),
    reportMsr: (_: number, msr: number, now: boolean) => ask(`msr${msr}`, now),
    reportCpuid: (_: number, now: boolean) => ask("cpuid", now),
    reportDescriptors: (_: number, now: boolean) => ask("descriptor", now),
    reportRequests: (_: number, now: boolean) => ask("request", now),
  };
}

const range = (space: "cr" | "msr" | "cpuid" | "descriptor" | "request", start: number, length = 1) => ({
  space,
  start: BigInt(start),
  length: BigInt(length),
});

Deno.test("reports: Xen is asked for what is wanted, once, and for nothing else any more", () => {
  const xen = control();
  const reported = new Reported(xen, 1);
  reported.set([range("cr", 3), range("cr", XCR0), range("msr", 0x10, 2), range("descriptor", 0)]);
  assert.deepEqual([...xen.on].sort(), ["cr1", "cr3", "descriptor", "msr16", "msr17"]);
  assert.equal(reported.descriptors, true);
  reported.set([range("cr", 3), range("descriptor", 1), range("cpuid", 0, 4), range("request", 0)]);
  assert.deepEqual([...xen.on].sort(), ["cpuid", "cr1", "descriptor", "request"]);
  reported.set([]);
  assert.deepEqual([...xen.on], []);
  assert.equal(reported.descriptors, false);
});

Deno.test("reports: where one is refused, the others are as they were", () => {
  const xen = control((call) => call === "msr17");
  const reported = new Reported(xen, 1);
  reported.set([range("cr", 0)]);
  assert.throws(() => reported.set([range("cpuid", 0), range("msr", 0x10, 2)]), /msr17 is refused/);
  assert.deepEqual([...xen.on], ["cr0"]);
  assert.throws(() => reported.set([range("cr", 2)]), { name: "UnsupportedError", message: /CR2/ });
  assert.deepEqual([...xen.on], ["cr0"]);
});

function slot(reason: number): DataView {
  const view = new DataView(new ArrayBuffer(VM_EVENT.size));
  view.setUint32(VM_EVENT.reason, reason, true);
  return view;
}

Deno.test("reports: what each event says", () => {
  const cr = slot(XEN.VM_EVENT_REASON_WRITE_CTRLREG);
  vm_event_write_ctrlreg.write(
    cr,
    { index: XEN.VM_EVENT_X86_XCR0, _pad: 0, new_value: 7n, old_value: 3n },
    VM_EVENT.u,
  );
  const told = reportIn(cr)!;
  assert.deepEqual([told.space, told.address, told.write, told.done], ["cr", XCR0, true, true]);
  assert.deepEqual([told.data[0], told.before![0], told.data.length], [7, 3, 8]);
  const msr = slot(XEN.VM_EVENT_REASON_MOV_TO_MSR);
  vm_event_mov_to_msr.write(msr, { msr: 0xc000_0080n, new_value: 0x500n, old_value: 0n }, VM_EVENT.u);
  assert.deepEqual([reportIn(msr)!.space, reportIn(msr)!.address], ["msr", 0xc000_0080]);
  const descriptor = slot(XEN.VM_EVENT_REASON_DESCRIPTOR_ACCESS);
  const table = { arch: new Uint8Array(16), _pad: new Uint8Array(6) };
  vm_event_desc_access.write(
    descriptor,
    { ...table, descriptor: XEN.VM_EVENT_DESC_TR, is_write: 1 },
    VM_EVENT.u,
  );
  const access = reportIn(descriptor)!;
  assert.deepEqual([access.space, access.address, access.write, access.done], ["descriptor", 3, true, false]);
  assert.equal(reportIn(slot(XEN.VM_EVENT_REASON_GUEST_REQUEST))!.space, "request");
  assert.equal(reportIn(slot(XEN.VM_EVENT_REASON_DEBUG_EXCEPTION)), undefined);
});

Deno.test("reports: CPUID's answer is in the registers, and RIP goes behind it", () => {
  fc.assert(
    fc.property(fc.bigInt(0n, (1n << 64n) - 1n), fc.integer({ min: 2, max: 15 }), (rip, length) => {
      const view = slot(XEN.VM_EVENT_REASON_CPUID);
      vm_event_cpuid.write(view, { insn_length: length, leaf: 7, subleaf: 1, _pad: 0 }, VM_EVENT.u);
      const { rax, rbx, rcx, rdx, rip: at } = vm_event_regs_x86.offsets;
      [rax, rbx, rcx, rdx].forEach((offset, i) =>
        view.setBigUint64(VM_EVENT.data + offset, 0xffff_0000_0000n + BigInt(i), true)
      );
      view.setBigUint64(VM_EVENT.data + at, rip, true);
      const { space, address, data } = reportIn(view)!;
      assert.deepEqual([space, address], ["cpuid", 7]);
      assert.deepEqual([...new Uint32Array(data.buffer)], [0, 1, 2, 3]);
      assert.equal(view.getBigUint64(VM_EVENT.data + at, true), BigInt.asUintN(64, rip + BigInt(length)));
    }),
  );
});

Deno.test("reports: accesses to descriptor tables' registers leave the guest only while they are reported", () => {
  const codes: Readonly<Record<string, string>> = {
    SGDT: "0f0104",
    SIDT: "0f010c",
    LGDT: "0f0114",
    LIDT: "480f011c",
    SLDT: "0f00c0",
    STR: "660f00c8",
    LLDT: "0f00d0",
    LTR: "0f00d8",
  };
  for (const [name, hex] of Object.entries(codes)) {
    const code = Uint8Array.fromHex(hex.padEnd(30, "0"));
    assert.equal(finishedByXen(code, true, true), name);
    assert.equal(finishedByXen(code, true), undefined, name);
  }
  // VERR, SMSW, XGETBV and INVLPG are what they were.
  for (const [hex, name] of [["0f00e0"], ["0f01e0"], ["0f01d0"], ["0f0138", "INVLPG"]]) {
    assert.equal(finishedByXen(Uint8Array.fromHex(hex.padEnd(30, "0")), true, true), name);
  }
});
