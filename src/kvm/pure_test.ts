import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../vm/errors.ts";
import { REGISTER_NAMES, registerBits, type RegisterName } from "../vm/registers.ts";
import { CAP, FLAG, kvm_guest_debug, kvm_sregs, kvm_vcpu_events } from "./abi.ts";
import { cpuidFor, encodeCpuid, underHypervisor } from "./cpuid.ts";
import { checkTraps, dr7, encodeGuestDebug } from "./debug.ts";
import { decodeEvents, mergeEvents } from "./events.ts";
import { isaVector } from "./interrupts.ts";
import { checkMemorySize } from "./memory.ts";
import { filterRanges } from "./msr_filter.ts";
import { planWrite, writeSregs } from "./register_write.ts";
import { judgeAnswers } from "./system.ts";

Deno.test("MSR filter: a clear bit for each MSR asked for, close ones in one range", () => {
  const [low, high] = filterRanges([0xc000_0080, 0x174, 0x176, 0x174]);
  assert.deepEqual([low.base, low.count, [...low.bitmap]], [0x174, 3, [
    0xfa,
    255,
    255,
    255,
    255,
    255,
    255,
    255,
  ]]);
  assert.deepEqual([high.base, high.count, high.bitmap[0]], [0xc000_0080, 1, 0xfe]);
  assert.deepEqual(filterRanges([]), []);
});

Deno.test("MSR filter: too many ranges and impossible numbers are refused", () => {
  const scattered = Array.from({ length: 17 }, (_, i) => i * 0x10_0000);
  assert.throws(() => filterRanges(scattered), InputError);
  assert.equal(filterRanges(scattered.slice(1)).length, 16);
  for (const bad of [-1, 1.5, 2 ** 32]) assert.throws(() => filterRanges([bad]), InputError);
});

Deno.test("CPUID: a guest is told of its hypervisor, which KVM leaves to others", () => {
  const leaf = { function: 1, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 1, edx: 2, padding: [0, 0, 0] };
  const [first, other] = underHypervisor([leaf, { ...leaf, function: 7 }]);
  assert.deepEqual([first.ecx, first.edx, other.ecx], [0x8000_0001, 2, 1]);
});

Deno.test("CPUID: each vCPU has its own APIC id, the hypervisor's leaf stays", () => {
  const leaf = (f: number) => ({
    function: f,
    index: 0,
    flags: 0,
    eax: 1,
    ebx: 0xff00_0000,
    ecx: 3,
    edx: 4,
    padding: [0, 0, 0],
  });
  const leaves = cpuidFor([{ ...leaf(0), eax: 0xb }, leaf(1), leaf(0xb), leaf(0x4000_0000)], 3, 4);
  assert.equal(leaves[1].ebx, 0x0304_0000);
  assert.deepEqual(leaves[2], leaf(0x4000_0000));
  const levels = leaves.slice(3).map(({ function: leaf, index, flags, edx }) => [leaf, index, flags, edx]);
  assert.deepEqual(levels, [0, 1, 2].map((level) => [0xb, level, 1, 3]));
  const encoded = encodeCpuid(leaves);
  assert.equal(encoded.length, 8 + 6 * 40);
  assert.equal(encoded[0], 6);
});

Deno.test("DR7 has enable, kind and length of each armed slot (SDM vol. 3B, 18.2.4)", () => {
  const execute = { address: 0x1000n, access: "execute", size: 1 } as const;
  const write4 = { address: 0x2000n, access: "write", size: 4 } as const;
  const access8 = { address: 0x3000n, access: "access", size: 8 } as const;
  const both = { execute: true, data: true };
  assert.equal(dr7([execute], both), 0x703n);
  assert.equal(dr7([undefined, write4], both), 0x00d0_070cn);
  assert.equal(dr7([undefined, undefined, undefined, access8], both), 0xb000_07c0n);
  assert.equal(dr7([execute, write4], { execute: false, data: true }), 0x00d0_070cn);
  assert.equal(dr7([], both), 0x400n);
});

Deno.test("guest debug control is what is asked for and no more", () => {
  const control = (
    traps: Parameters<typeof encodeGuestDebug>[0],
    mode: Parameters<typeof encodeGuestDebug>[1],
  ) => kvm_guest_debug.read(new DataView(encodeGuestDebug(traps, mode).buffer));
  const armed = { execute: true, data: true };
  const run = { singleStep: false, blockInterrupts: true, armed, int3: true };
  assert.equal(control({ hardware: [], int3: false }, run).control, 0);
  assert.equal(
    control({ hardware: [], int3: true }, run).control,
    FLAG.GUESTDBG_ENABLE | FLAG.GUESTDBG_USE_SW_BP,
  );
  assert.equal(
    control({ hardware: [], int3: true }, { ...run, singleStep: true, int3: false }).control,
    FLAG.GUESTDBG_ENABLE | FLAG.GUESTDBG_SINGLESTEP | FLAG.GUESTDBG_BLOCKIRQ,
  );
  const high = { address: 0xffff_ffff_8000_0000n, access: "execute", size: 1 } as const;
  const traps = { hardware: [undefined, high], int3: false };
  const { control: bits, arch } = control(traps, run);
  assert.equal(bits, FLAG.GUESTDBG_ENABLE | FLAG.GUESTDBG_USE_HW_BP);
  assert.equal(arch.debugreg[1], 0xffff_ffff_8000_0000n);
  // A step without execute traps does not switch the debug registers on at all.
  const off = control(traps, { ...run, singleStep: true, armed: { execute: false, data: true } });
  assert.equal(off.control & FLAG.GUESTDBG_USE_HW_BP, 0);
});

Deno.test("traps that the processor can't have are refused", () => {
  const trap = (address: bigint, access: "execute" | "write", size: 1 | 2 | 4 | 8) => ({
    hardware: [{ address, access, size }],
    int3: false,
  });
  assert.throws(() => checkTraps(trap(0x1001n, "write", 2)), RangeError);
  assert.throws(() => checkTraps(trap(0x1000n, "execute", 4)), RangeError);
  assert.throws(() => checkTraps(trap(0x1000n, "write", 3 as 4)), RangeError);
  assert.throws(() => checkTraps({ hardware: new Array(5).fill(undefined), int3: false }), RangeError);
  checkTraps(trap(0x1008n, "write", 8));
});

Deno.test("events: what is decoded can be written back, and what is not named stays", () => {
  const raw = kvm_vcpu_events.encode({
    exception: { injected: 1, nr: 14, has_error_code: 1, error_code: 2 },
    interrupt: { injected: 1, nr: 0x20, soft: 1, shadow: 2 },
    nmi: { masked: 1 },
    sipi_vector: 0x9f,
  });
  assert.deepEqual(decodeEvents(raw), {
    exception: { vector: 14, errorCode: 2, pending: false },
    interrupt: { vector: 0x20, soft: true },
    shadow: 2,
    nmiPending: false,
    nmiInjected: false,
    nmiMasked: true,
    smm: false,
  });
  assert.deepEqual(decodeEvents(mergeEvents(raw, {})), decodeEvents(raw));
  const without = decodeEvents(mergeEvents(raw, { exception: undefined, nmiPending: true, shadow: 0 }));
  assert.equal(without.exception, undefined);
  assert.deepEqual(without.interrupt, { vector: 0x20, soft: true });
  assert.equal(without.nmiPending, true);
  assert.equal(without.nmiMasked, true);
  assert.equal(without.shadow, 0);
  const merged = kvm_vcpu_events.read(new DataView(mergeEvents(raw, {}).buffer));
  assert.equal(merged.sipi_vector, 0x9f);
});

Deno.test("ISA interrupts have the vectors that a BIOS gives them", () => {
  assert.deepEqual([0, 1, 7, 8, 15].map(isaVector), [0x08, 0x09, 0x0f, 0x70, 0x77]);
});

Deno.test("memory sizes: zero, odd and too large ones are refused, with what to give instead", () => {
  const message = (size: number) => {
    try {
      checkMemorySize(size, 1 << 30);
    } catch (error) {
      assert.ok(error instanceof InputError);
      assert.ok(error.remedy);
      return error.message;
    }
    return "";
  };
  assert.match(message(0), /0 bytes/);
  assert.match(message(-4096), /-4096 bytes/);
  assert.match(message(NaN), /NaN/);
  assert.match(message(0.5), /0\.5/);
  assert.match(message(5000), /multiple of 4096/);
  assert.match(message(2 * 2 ** 30), /2048 MiB does not fit this host, which has 1024 MiB/);
  assert.equal(message(1 << 30), "");
});

Deno.test("registers are sorted by the structure they stand in", () => {
  const plan = planWrite({ rax: 1n, cs_base: 2n, dr7: 3n, xmm1: 4n, xcr0: 5n, rip: 6n, st0: undefined });
  assert.deepEqual([...plan.keys()].sort(), ["debug", "regs", "sregs", "xcr0", "xsave"]);
  assert.deepEqual(plan.get("regs"), [["rax", 1n], ["rip", 6n]]);
  assert.equal(planWrite({}).size, 0);
});

Deno.test("a value that does not fit its register is refused by name and width", () => {
  for (const name of REGISTER_NAMES) {
    const limit = name.endsWith("_attributes") ? 0x1f0ffn : (1n << BigInt(registerBits(name))) - 1n;
    assert.doesNotThrow(() => planWrite({ [name]: limit }), name);
    assert.throws(() => planWrite({ [name]: limit + 1n }), { name: "RangeError", message: new RegExp(name) });
    assert.throws(() => planWrite({ [name]: -1n }), {
      name: "RangeError",
      message: new RegExp(`-1 .*${name}`),
    });
  }
  assert.throws(() => planWrite({ cs_attributes: 0x100n }), RangeError);
  assert.throws(() => planWrite({ rax: 5 as unknown as bigint }), {
    name: "RangeError",
    message: /such as 5n/,
  });
  assert.throws(() => planWrite({ rax: "1" as unknown as bigint }), RangeError);
  assert.throws(() => planWrite({ eax: 1n } as Record<string, bigint>), InputError);
});

Deno.test("branded addresses are taken as values", () => {
  const plan = planWrite({ rip: Object(5n) as bigint });
  assert.deepEqual(plan.get("regs"), [["rip", 5n]]);
});

Deno.test("each segment and control register has its own place", () => {
  const names = REGISTER_NAMES.filter((name) => planWrite({ [name]: 0n }).has("sregs"));
  assert.equal(names.length, 8 * 4 + 7 + 4);
  const places = new Map<number, RegisterName>();
  for (const name of names) {
    const sregs = new DataView(new ArrayBuffer(kvm_sregs.size));
    writeSregs(sregs, name, 1n);
    const changed = Array.from({ length: kvm_sregs.size }, (_, i) => i).filter((i) =>
      sregs.getUint8(i) !== 0
    );
    assert.equal(changed.length, 1, name);
    assert.ok(!places.has(changed[0]), `${name} and ${places.get(changed[0])}`);
    places.set(changed[0], name);
  }
});

Deno.test("a KVM of another version, or without what is needed, is refused with a remedy", () => {
  const all = () => 7;
  assert.equal(judgeAnswers(12, all), undefined);
  const old = judgeAnswers(10, all);
  assert.ok(old !== undefined && !old.usable && /version 10/.test(old.reason) && /Linux/.test(old.remedy));
  for (const cap of [CAP.USER_MEMORY, CAP.IMMEDIATE_EXIT, CAP.SYNC_REGS]) {
    const verdict = judgeAnswers(12, (asked) => asked === cap ? 0 : 7);
    assert.ok(verdict !== undefined && !verdict.usable && /lacks KVM_CAP_/.test(verdict.reason));
  }
  const half = judgeAnswers(12, (asked) => asked === CAP.SYNC_REGS ? 1 : 7);
  assert.ok(half !== undefined && !half.usable && /SYNC_REGS/.test(half.reason));
});

Deno.test("attributes round-trip through KVM's bytes", () => {
  fc.assert(
    fc.property(fc.nat(0x1ffff), (rights) => {
      const kept = BigInt(rights & 0x1f0ff);
      const sregs = new DataView(new ArrayBuffer(kvm_sregs.size));
      writeSregs(sregs, "gs_attributes", kept);
      const gs = kvm_sregs.read(sregs).gs;
      const back = gs.type | (gs.s << 4) | (gs.dpl << 5) | (gs.present << 7) | (gs.avl << 12) | (gs.l << 13) |
        (gs.db << 14) | (gs.g << 15) | (gs.unusable << 16);
      assert.equal(BigInt(back), kept);
    }),
    { seed: 3, numRuns: 200 },
  );
});
