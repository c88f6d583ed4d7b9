/** What of the Xen backend can be tested without Xen. */
import assert from "node:assert/strict";
import { hvm_hw_cpu, vcpu_guest_context, XEN } from "../abi/xen.ts";
import { disassembler } from "../debug/disassembler.ts";
import { stateOf } from "./domain.ts";
import { GuestContext } from "./guest_context.ts";
import { xenHost } from "./hosts.ts";
import { readRecord, writeRecord } from "./hvm_record.ts";
import { MACHINE } from "../vm/address.ts";
import { PhysicalToMachine } from "./p2m.ts";
import { checkedValues } from "./register_write.ts";
import { decodeExtended, snapshot } from "./registers.ts";
import { finishedByXen } from "./emulated.ts";
import { toldBy } from "./xl.ts";
import { findRoom, FRAME, PLACE, STUB_SIZE, stubCode } from "./stub.ts";

Deno.test("stub: both entries, the wait and the way out are the instructions that its offsets say", async () => {
  const code = stubCode(0x1234);
  const decoded = (await disassembler()).list(code.subarray(0, STUB_SIZE - 4), 64, 0n, 64);
  const list = new Map(decoded.map(({ address, text }) => [Number(address), text]));
  assert.equal(code.length, STUB_SIZE);
  assert.deepEqual(list.get(PLACE.debug), "push rax");
  assert.equal(list.get(5), "jmp 0xc");
  assert.equal(list.get(PLACE.breakpoint), "push rax");
  assert.equal(list.get(PLACE.breakpoint + 3), "push 3");
  // The port of the event lies behind the code, and RSI points to it.
  assert.equal(list.get(18), `lea rsi, [rel 0x${(STUB_SIZE - 4).toString(16)}]`);
  assert.deepEqual([...code.subarray(STUB_SIZE - 4)], [0x34, 0x12, 0, 0]);
  assert.equal(list.get(PLACE.leaving - 2), `jne 0x${PLACE.saved.toString(16)}`);
  assert.equal(list.get(PLACE.leaving), "pop rsi");
  const before = [...list].filter(([at]) => at < PLACE.saved && at >= PLACE.breakpoint);
  // What is pushed before the wait is what FRAME has at RSP then.
  const pushed = before.map(([, text]) => text).filter((text) => /^push (rax|rdi|rsi|3)$/.test(text));
  assert.deepEqual(pushed, ["push rax", "push rdi", "push rsi", "push 3"]);
  assert.deepEqual([FRAME.release, FRAME.rsi, FRAME.rdi, FRAME.rax], [0, 8, 16, 24]);
  assert.deepEqual([...list].slice(-2).map(([, text]) => text), ["pop rax", "syscall"]);
});

Deno.test("stub: room is a run of INT3 that is long enough", () => {
  const text = new Uint8Array(256).fill(0x90);
  text.fill(0xcc, 10, 10 + STUB_SIZE - 1);
  assert.equal(findRoom(text), -1);
  text.fill(0xcc, 100, 100 + STUB_SIZE + 3);
  assert.equal(findRoom(text), 103);
});

Deno.test("p2m: the inversion is made when it is needed, of the domain's own frames only", () => {
  // Machine frame -> what Xen's table says: 2 and 3 are ours, 4 claims the same as 2 but is another domain's.
  const words = new Uint32Array(2 * 8).fill(0xffff_ffff);
  const claim = (frame: number, physical: number) => words.set([physical, 0], 2 * frame);
  claim(2, 0);
  claim(3, 1);
  claim(4, 0);
  const own = new Set([2, 3]);
  let asked = 0;
  let disposed = 0;
  using p2m = new PhysicalToMachine({
    machineToPhysical: () =>
      ({ buffer: words.buffer, length: words.byteLength, [Symbol.dispose]: () => disposed++ }) as never,
    limit: () => 16,
    frameTypes: (frames) => {
      asked++;
      frames.forEach((frame, i) =>
        frames[i] = own.has(Number(frame)) ? 0n : BigInt(XEN.XEN_DOMCTL_PFINFO_XTAB)
      );
    },
    owns: (frame) => own.has(frame),
  });
  assert.equal(p2m.physicalOf(0x2000n), 0n);
  assert.equal(p2m.physicalOf(0x3000n), 0x1000n);
  assert.equal(p2m.physicalOf(0x4000n), MACHINE | 0x4000n);
  assert.equal(p2m.physicalOf(0x7000n), MACHINE | 0x7000n);
  assert.equal(p2m.physicalOf(0x7000_0000n), MACHINE | 0x7000_0000n);
  assert.equal(asked, 0);
  assert.equal(p2m.machine(1), 3);
  assert.equal(asked, 0);
  assert.equal(p2m.machine(9), undefined);
  assert.equal(p2m.machine(0), 2);
  // The guest gave frame 1 away and got another machine frame for it.
  words.fill(0xffff_ffff, 6, 8);
  claim(5, 1);
  own.add(5);
  assert.equal(p2m.machine(1), 5);
  p2m[Symbol.dispose]();
  assert.equal(disposed, 1);
});

Deno.test("registers: a record is read and written member by member", () => {
  const record = new Uint8Array(hvm_hw_cpu.size);
  const view = new DataView(record.buffer);
  hvm_hw_cpu.write(view, {
    rax: 1n,
    rip: 2n,
    msr_efer: 0xd01n,
    cs_sel: 8,
    cs_arbytes: 0xa9b,
    cs_limit: 0xffff_ffff,
  });
  const values = readRecord(record);
  assert.equal(values.get("rax"), 1n);
  assert.equal(values.get("efer"), 0xd01n);
  assert.equal(values.get("cs"), 8n);
  // Type 11, S, P as they are; AVL, L, D/B and G move up to where VMX has them.
  assert.equal(values.get("cs_attributes"), 0xa09bn);
  assert.equal(values.get("ldtr_attributes"), 0x1_0000n);
  for (const [name, value] of values) assert.ok(writeRecord(record, name, value), name);
  assert.deepEqual(readRecord(record), values);
  assert.equal(writeRecord(record, "xmm0", 0n), false);
  assert.equal(writeRecord(record, "gdtr_limit", 0x7fn), true);
  assert.equal(readRecord(record).get("gdtr_limit"), 0x7fn);
});

Deno.test("registers: a PV context is long mode with paging; GS is the one in use", () => {
  const context = new GuestContext();
  assert.equal(context.bytes.length, vcpu_guest_context.size);
  assert.ok(context.set("rip", 0xffff_ffff_8100_0000n));
  assert.ok(context.set("cs", 0xe033n));
  assert.ok(context.set("gs_base", 7n));
  assert.equal(context.set("cr3", 0n), false);
  const values = context.values();
  assert.equal(values.get("rip"), 0xffff_ffff_8100_0000n);
  assert.equal(values.get("cs_attributes"), 0xa0fbn);
  assert.equal(values.get("gs_base"), 7n);
  assert.notEqual(values.get("cr0")! >> 31n, 0n);
  new DataView(context.bytes.buffer).setBigUint64(vcpu_guest_context.offsets.flags, 4n, true);
  assert.ok(context.inKernel);
  assert.equal(context.values().get("gs_base"), 0n);
  context.setTrap(3, { flags: 7, cs: 0xe033, address: 5n });
  assert.deepEqual(context.trap(3), { flags: 7, cs: 0xe033, address: 5n });
});

Deno.test("registers: what is fetched later must be of the same moment", () => {
  let fresh = true;
  const make = () =>
    snapshot({
      values: new Map([["rax", 5n]]),
      extended: () => decodeExtended(new Uint8Array(0), new Uint8Array(512)),
      fresh: () => fresh,
    });
  const first = make(), second = make();
  assert.equal(first.rax, 5n);
  assert.equal(first.rbx, 0n);
  assert.equal(first.xcr0, 1n);
  fresh = false;
  assert.equal(first.xmm0, 0n);
  assert.throws(() => second.xmm0, { name: "StateError", state: "stale" });
});

Deno.test("registers: names and values are checked before anything is written", () => {
  assert.deepEqual(checkedValues({ rax: 1n, rbx: undefined }), [["rax", 1n]]);
  assert.throws(() => checkedValues({ raks: 1n } as never), { name: "InputError" });
  assert.throws(() => checkedValues({ cs: 0x1_0000n }), RangeError);
  assert.throws(() => checkedValues({ rax: -1n }), RangeError);
  assert.throws(() => checkedValues({ rax: 1 } as never), RangeError);
  assert.throws(() => checkedValues({ cs_attributes: 0xf00n }), RangeError);
});

Deno.test("domains: flags say what one does", () => {
  const shutdown = (reason: number) =>
    stateOf(XEN.XEN_DOMINF_shutdown | reason << XEN.XEN_DOMINF_shutdownshift);
  assert.equal(stateOf(XEN.XEN_DOMINF_running), "running");
  assert.equal(stateOf(XEN.XEN_DOMINF_blocked), "blocked");
  assert.equal(stateOf(XEN.XEN_DOMINF_paused | XEN.XEN_DOMINF_blocked), "paused");
  assert.equal(stateOf(XEN.XEN_DOMINF_dying | XEN.XEN_DOMINF_shutdown), "dying");
  assert.deepEqual([0, 1, 2, 3, 4, 5].map(shutdown), [
    "poweroff",
    "reboot",
    "suspend",
    "crashed",
    "crashed",
    "reboot",
  ]);
});

Deno.test("hosts: what keeps Xen from being used here is said, with what to do", async () => {
  const none = xenHost("/nowhere/xen/capabilities");
  assert.ok(!none.usable);
  assert.match(none.remedy, /dom0/);
  const file = await Deno.makeTempFile();
  try {
    const guest = xenHost(file);
    assert.ok(!guest.usable);
    assert.match(guest.reason, /guest of Xen/);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("steps: instructions that Xen finishes itself are known by their bytes", () => {
  const name = (long: boolean, ...code: number[]) => finishedByXen(Uint8Array.from(code), long);
  assert.equal(name(true, 0x0f, 0xa2), "CPUID");
  assert.equal(name(true, 0xec), "IN");
  assert.equal(name(false, 0x66, 0xef), "OUT");
  assert.equal(name(true, 0xf3, 0x6c), "INS");
  assert.equal(name(true, 0x44, 0x0f, 0x20, 0xc0), "MOV CR");
  assert.equal(name(false, 0x44, 0x0f, 0x20, 0xc0), undefined); // inc esp
  assert.equal(name(true, 0x0f, 0x01, 0x3f), "INVLPG");
  assert.equal(name(true, 0x0f, 0x01, 0xf9), "RDTSCP");
  assert.equal(name(true, 0x0f, 0x01, 0xf8), undefined); // swapgs
  assert.equal(name(true, 0x0f, 0x05), undefined);
  assert.equal(name(true, 0x90), undefined);
});

Deno.test("xl: what it said is a sentence and its details, without the places in its source", () => {
  const stderr =
    `libxl: error: libxl_dom.c:1470:libxl__domain_set_paging_mempool_size: Domain 17:Failed to set it: Invalid argument
libxl: error: libxl_create.c:1640:domcreate_rebuild_done: Domain 17:cannot (re-)build domain: -3

Parsing config from /x`;
  assert.equal(
    toldBy(stderr),
    "Domain 17:Failed to set it: Invalid argument\n  Domain 17:cannot (re-)build domain: -3\n  Parsing config from /x",
  );
  assert.equal(toldBy(""), "without a word");
});
