import "../host/preload.ts";
import assert from "node:assert/strict";
import fc from "fast-check";
import { hostMemory } from "../host/memory_info.ts";
import { gpa } from "../vm/address.ts";
import { FaultError, InputError, StateError } from "../vm/errors.ts";
import { HOLE_END, HOLE_START, KvmMemory } from "./memory.ts";
import type { Slot } from "./slots.ts";
import { expectExit, guest, kvmTest, long } from "./test_guest.ts";

/** A VM that keeps slots as KVM does, and refuses what KVM refuses. */
class Slots {
  readonly live = new Map<number, Slot>();
  refuse = false;
  readonly set = (number: number, slot: Slot): void => {
    if (slot.size === 0) {
      assert.ok(this.live.delete(number), `slot ${number} was never set`);
      return;
    }
    if (this.refuse) throw new Error("EINVAL");
    assert.ok(!this.live.has(number), `slot ${number} is in use`);
    for (const other of this.live.values()) {
      assert.ok(
        slot.start >= other.start + other.size || other.start >= slot.start + slot.size,
        "slots overlap",
      );
    }
    this.live.set(number, slot);
  };
  shape(): [number, number, boolean][] {
    return [...this.live.values()].sort((a, b) => a.start - b.start).map((
      s,
    ) => [s.start, s.size, s.readOnly]);
  }
}

/** Memory of `size` bytes over a VM of its own. */
function memory(size: number, roms: ConstructorParameters<typeof KvmMemory>[1] = []) {
  const slots = new Slots();
  return { slots, ram: new KvmMemory(size, roms, slots.set) };
}

/** What a call throws as a FaultError. */
function fault(call: () => unknown): FaultError {
  try {
    call();
  } catch (error) {
    assert.ok(error instanceof FaultError, String(error));
    return error;
  }
  return assert.fail("it did not throw");
}

const GiB = 2 ** 30;

/** A test whose guest a small host refuses. */
function largeTest(name: string, bytes: number, fn: () => void): void {
  const ignore = hostMemory() < bytes;
  if (ignore) console.log(`${name}: skipped, this host has less than ${bytes / GiB} GiB of RAM and swap`);
  Deno.test({ name, ignore, fn });
}

largeTest("RAM beyond 3 GiB goes on at 4 GiB, and the hole answers nothing", 5 * GiB, () => {
  const { slots, ram } = memory(5 * GiB);
  using _ram = ram;
  assert.deepEqual(slots.shape(), [[0, HOLE_START, false], [HOLE_END, 2 * GiB, false]]);
  assert.deepEqual(ram.regions.map((r) => [r.name, r.start, r.size]), [
    ["ram", 0n, 0xc000_0000n],
    ["ram-high", 0x1_0000_0000n, 0x8000_0000n],
  ]);
  ram.write(gpa(0xbfff_ffffn), Uint8Array.of(1));
  ram.write(gpa(0x1_0000_0000n), Uint8Array.of(2));
  ram.write(gpa(0x1_7fff_ffffn), Uint8Array.of(3));
  const one = new Uint8Array(1);
  for (const [at, value] of [[0xbfff_ffffn, 1], [0x1_0000_0000n, 2], [0x1_7fff_ffffn, 3]] as const) {
    ram.read(at, one);
    assert.equal(one[0], value);
  }
  assert.equal(fault(() => ram.read(0xbfff_fffen, new Uint8Array(8))).address, 0xc000_0000n);
  assert.equal(fault(() => ram.read(0xc000_0000n, one)).address, 0xc000_0000n);
  assert.equal(fault(() => ram.write(0x1_7fff_ffffn, new Uint8Array(2))).address, 0x1_8000_0000n);
});

Deno.test("faults name the first address that failed, its space, and where memory lies", () => {
  const { ram } = memory(0x10000);
  using _ram = ram;
  const error = fault(() => ram.read(gpa(0xfff0n), new Uint8Array(0x20)));
  assert.deepEqual([error.address, error.space], [0x10000n, "gpa"]);
  assert.match(error.message, /0x10000 \(of 32 bytes from 0xfff0\)/);
  assert.match(error.remedy!, /0x0\.\.0xffff \(ram\)/);
  for (const at of [0x10000n, 1n << 52n, (1n << 64n) - 1n]) {
    assert.equal(fault(() => ram.read(at, new Uint8Array(1))).address, at);
    assert.equal(fault(() => ram.write(at, new Uint8Array(1))).address, at);
    assert.equal(fault(() => ram.view(at, 1)).address, at);
  }
  // From the last byte of all, wrapping to zero.
  assert.equal(fault(() => ram.read((1n << 64n) - 1n, new Uint8Array(2))).address, (1n << 64n) - 1n);
});

Deno.test("a write that does not fit changes nothing", () => {
  const { ram } = memory(0x1000);
  using _ram = ram;
  fault(() => ram.write(0xff0n, new Uint8Array(32).fill(9)));
  const tail = new Uint8Array(16);
  ram.read(0xff0n, tail);
  assert.deepEqual([...tail], new Array(16).fill(0));
});

Deno.test("what is written reads back, wherever it lies", () => {
  const { ram } = memory(0x20000);
  using _ram = ram;
  const shadow = new Uint8Array(0x20000);
  fc.assert(
    fc.property(fc.nat(0x1ffff), fc.uint8Array({ maxLength: 300 }), (at, bytes) => {
      const fits = at + bytes.length <= shadow.length;
      if (!fits) {
        fault(() => ram.write(BigInt(at), bytes));
        return;
      }
      ram.write(BigInt(at), bytes);
      shadow.set(bytes, at);
      const all = new Uint8Array(shadow.length);
      ram.read(0n, all);
      assert.ok(all.every((byte, i) => byte === shadow[i]));
    }),
    { seed: 4, numRuns: 100 },
  );
});

Deno.test("views are live, within one region, and dead after close", () => {
  const { ram } = memory(0x2000);
  const view = ram.view(0x1000n, 0x1000);
  view[5] = 0x42;
  const byte = new Uint8Array(1);
  ram.read(0x1005n, byte);
  assert.equal(byte[0], 0x42);
  assert.equal(fault(() => ram.view(0x1000n, 0x1001)).address, 0x2000n);
  ram[Symbol.dispose]();
  ram[Symbol.dispose]();
  assert.equal(view.length, 0);
  for (const call of [() => ram.read(0n, byte), () => ram.view(0n, 1), () => ram.search(byte, 0n, 1n)]) {
    assert.throws(call, (e: unknown) => e instanceof StateError && e.state === "closed");
  }
});

largeTest("search finds the first whole match in its range, in every region", 4 * GiB, () => {
  const rom = { name: "rom", at: 0xffff_f000n, bytes: new TextEncoder().encode("needle") };
  const { ram } = memory(4 * GiB, [rom]);
  using _ram = ram;
  const needle = new TextEncoder().encode("needle");
  const all = [0n, 1n << 52n] as const;
  assert.equal(ram.search(needle, ...all), 0xffff_f000n);
  ram.write(0x1_2000_0000n, needle);
  assert.equal(ram.search(needle, 0x1_0000_0000n, 1n << 52n), 0x1_2000_0000n);
  ram.write(0x1234n, needle);
  assert.equal(ram.search(needle, ...all), 0x1234n);
  assert.equal(ram.search(needle, 0n, 0x1239n), undefined);
  assert.equal(ram.search(needle, 0n, 0x123an), 0x1234n);
  assert.equal(ram.search(needle, 0x1235n, 0x10_0000n), undefined);
  assert.throws(() => ram.search(new Uint8Array(0), ...all), InputError);
});

Deno.test("protect cuts slots page by page and puts them together again", () => {
  const { slots, ram } = memory(0x10000);
  using _ram = ram;
  ram.protect(0x2fffn, 2, true);
  assert.deepEqual(slots.shape(), [[0, 0x2000, false], [0x2000, 0x2000, true], [0x4000, 0xc000, false]]);
  ram.protect(0x2000n, 1, true);
  assert.equal(slots.shape().length, 3);
  ram.protect(0x3000n, 1, false);
  assert.deepEqual(slots.shape(), [[0, 0x2000, false], [0x2000, 0x1000, true], [0x3000, 0xd000, false]]);
  ram.protect(0n, 0x10000, false);
  assert.deepEqual(slots.shape(), [[0, 0x10000, false]]);
  assert.equal(fault(() => ram.protect(0xffffn, 2, true)).address, 0x10000n);
  assert.deepEqual(slots.shape(), [[0, 0x10000, false]]);
});

Deno.test("a slot that KVM refuses leaves memory as it was", () => {
  const { slots, ram } = memory(0x10000);
  using _ram = ram;
  slots.refuse = true;
  assert.throws(() => {
    try {
      ram.protect(0x2000n, 1, true);
    } finally {
      slots.refuse = false;
    }
  }, /EINVAL/);
  ram.protect(0x5000n, 1, true);
  assert.deepEqual(slots.shape().map(([start, , readOnly]) => [start, readOnly]), [
    [0, false],
    [0x5000, true],
    [0x6000, false],
  ]);
});

Deno.test("images that overlap, are empty, or lie askew are refused", () => {
  const bytes = new Uint8Array(10);
  for (
    const rom of [
      { name: "low", at: 0xf000n, bytes },
      { name: "askew", at: 0x10_0001n, bytes },
      { name: "empty", at: 0x10_0000n, bytes: new Uint8Array(0) },
      { name: "far", at: 1n << 60n, bytes },
    ]
  ) {
    const slots = new Slots();
    assert.throws(
      () => new KvmMemory(0x10000, [rom], slots.set),
      (e: unknown) => e instanceof InputError && e.message.includes(rom.name) && e.remedy !== undefined,
    );
    assert.equal(slots.live.size, 0);
  }
});

kvmTest("a write to a protected page leaves, and has no effect until the debugger does it", [
  "watchpoint-page",
], () => {
  using machine = guest();
  // mov [rbx], al; mov cl, [rbx]; mov [rdx], al; hlt
  const vcpu = long(machine, [0x88, 0x03, 0x8a, 0x0b, 0x88, 0x02, 0xf4]);
  vcpu.setRegisters({ rax: 0x77n, rbx: 0x8_1234n, rdx: 0x8_2000n });
  machine.memory.protect(0x8_1000n, 1, true);
  const exit = expectExit(vcpu, "mmio-write");
  assert.deepEqual([exit.address, [...exit.data]], [0x8_1234n, [0x77]]);
  machine.memory.write(exit.address, Uint8Array.of(0x78));
  expectExit(vcpu, "halt");
  assert.equal(vcpu.registers().rcx, 0x78n);
  machine.memory.protect(0x8_1000n, 1, false);
  vcpu.setRegisters({ rip: 0x1000n });
  expectExit(vcpu, "halt");
  assert.equal(vcpu.registers().rcx, 0x77n);
});

Deno.test("ROM over RAM: slots follow what is uncovered, and nobody else's change", () => {
  const bytes = new Uint8Array(0x2000).fill(0x55);
  const { slots, ram } = memory(0x10000, [{ name: "over", at: 0x8000n, bytes, shadow: true }]);
  using _ram = ram;
  const one = (at: bigint) => {
    const into = new Uint8Array(1);
    ram.read(at, into);
    return into[0];
  };
  assert.deepEqual(slots.shape(), [[0, 0x8000, false], [0x8000, 0x2000, true], [0xa000, 0x6000, false]]);
  const before = new Set(slots.live.values());
  ram.shadow(0x9000n, 0x1000, "ram");
  assert.deepEqual(slots.shape().slice(1, 3), [[0x8000, 0x1000, true], [0x9000, 0x1000, false]]);
  assert.equal([...slots.live.values()].filter((slot) => before.has(slot)).length, 2);
  ram.write(0x9000n, Uint8Array.of(7));
  assert.deepEqual([one(0x8000n), one(0x9000n)], [0x55, 7]);
  ram.shadow(0x9000n, 0x1000, "read-only");
  ram.deposit(0x8ffen, Uint8Array.of(1, 1, 1, 1));
  assert.deepEqual([one(0x8fffn), one(0x9000n)], [0x55, 7]);
  ram.deposit(0x7fffn, Uint8Array.of(3, 3));
  assert.deepEqual([one(0x7fffn), one(0x8000n)], [3, 0x55]);
  ram.shadow(0xb000n, 0x1000, "rom");
  assert.equal(fault(() => one(0xb000n)).address, 0xb000n);
  assert.equal(fault(() => ram.deposit(0xafffn, new Uint8Array(2))).address, 0xb000n);
  ram.shadow(0x9000n, 0x1000, "rom");
  assert.equal(one(0x9000n), 0x55);
});

Deno.test("memory: pages given back are zeros, and no others; ROM stays; a hole changes nothing", () => {
  const rom = { name: "rom", at: 0xf_0000n, bytes: new Uint8Array(4096).fill(7), shadow: true };
  using ram = memory(0x20_0000, [rom]).ram;
  const bytes = ram.view(0x1_0000n, 0x4000).fill(5);
  ram.discard(0x1_1000n, 0x2000);
  assert.deepEqual([0, 0x1000, 0x2fff, 0x3000].map((i) => bytes[i]), [5, 0, 0, 5]);
  const read = new Uint8Array(1);
  ram.discard(0xe_f000n, 0x3000);
  ram.read(0xf_0000n, read);
  assert.equal(read[0], 7);
  assert.throws(() => ram.discard(0x1f_f000n, 0x2000), FaultError);
});

Deno.test("few bytes and many, at even and odd places, are read, written and deposited alike", () => {
  const { ram } = memory(0x4000);
  using _ram = ram;
  const whole = ram.view(0n, 0x4000);
  for (const length of [1, 2, 3, 4, 8, 15, 16, 17, 40]) {
    for (const at of [0x100n, 0x201n]) {
      for (const store of ["write", "deposit"] as const) {
        const bytes = Uint8Array.from({ length }, (_, i) => 7 * length + 3 * i + (store === "write" ? 1 : 2));
        ram[store](at, bytes);
        const there = whole.slice(Number(at) - 1, Number(at) + length + 1);
        assert.deepEqual(there, Uint8Array.of(0, ...bytes, 0), `${store} ${length} at ${at}`);
        const into = new Uint8Array(length);
        ram.read(at, into);
        assert.deepEqual(into, bytes);
      }
      whole.fill(0);
    }
  }
});

Deno.test("a window is of RAM in one piece; elsewhere there is none", () => {
  const { ram } = memory(0x4000, [{ name: "rom", at: 0x8000n, bytes: new Uint8Array(0x1000) }]);
  const view = ram.window(0x1000n, 0x3000);
  view?.fill(7);
  assert.deepEqual(view?.length, 0x3000);
  assert.deepEqual(ram.view(0xfffn, 2), Uint8Array.of(0, 7));
  for (
    const [at, length] of [[0x3001n, 0x1000], [0x8000n, 1], [0x4000n, 1], [(1n << 64n) - 1n, 1]] as const
  ) {
    assert.equal(ram.window(at, length), undefined);
  }
  ram[Symbol.dispose]();
  assert.equal(view?.length, 0); // detached: what a device kept can't reach anything
  assert.equal(ram.window(0x1000n, 1), undefined);
});
