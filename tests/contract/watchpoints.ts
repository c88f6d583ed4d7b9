import assert from "node:assert/strict";
import { gva, type RegisterValues } from "../../mod.ts";
import {
  type Case,
  CODE,
  type Context,
  DATA,
  ended,
  group,
  hex,
  HOLE,
  NotHere,
  orRefused,
  orSkipped,
  PATIENCE_MS,
  pointer,
  refused,
  until,
} from "./case.ts";

const at = (offset: number) => BigInt(CODE + offset);

/** inc al; mov [p], al; nop; mov al, [p]; nop; cli; hlt: a write at +2, a read at +5. */
const CODE_RW = "fec0 8807 90 8a07 90 fa f4";

function guest(c: Context, place = DATA, registers: RegisterValues = {}, code = CODE_RW) {
  return c.guest({ code, registers: { ...pointer(place, c.backend.mode), rax: 0x40n, ...registers } });
}

/** Watchpoints on data and breaks on accesses. */
export const WATCHPOINT_CASES: readonly Case[] = group("watchpoints", {
  "stop after a write; the write is done": async (c) => {
    for (const kind of ["auto", "hardware", "software"] as const) {
      const vm = await guest(c);
      const bp = await orRefused(() => vm.breakpoints.add(gva(DATA), { kind, access: "write", size: 1 }));
      if (bp === undefined) {
        assert.notEqual(kind, "auto", "some means to watch a write is always there");
        continue;
      }
      const stop = await until(vm, "watchpoint");
      assert.deepEqual([stop.breakpoint, stop.address, stop.rip], [bp, BigInt(DATA), at(4)], bp.how);
      if (stop.after) assert.deepEqual([...stop.after], [0x41]);
      if (stop.before) assert.deepEqual([...stop.before], [0]);
      assert.equal(await vm.memory.readUint(BigInt(DATA), 1), 0x41n);
      await ended(c, vm);
      assert.equal(bp.hits, 1);
    }
  },

  "leave writes to the bytes beside them alone": async (c) => {
    for (const neighbour of [DATA - 1, DATA + 2]) {
      const vm = await guest(c, neighbour);
      const bp = await vm.breakpoints.add(gva(DATA), { access: "write", size: 2 });
      await ended(c, vm);
      assert.equal(bp.hits, 0);
      assert.equal(
        await vm.memory.readUint(BigInt(neighbour), 1),
        0x41n,
        `${bp.how}: the guest's write is done`,
      );
    }
  },

  "cover all their bytes": async (c) => {
    const vm = await guest(c, DATA + 3);
    await vm.breakpoints.add(gva(DATA), { access: "write", size: 4 });
    await until(vm, "watchpoint");
    assert.equal(await vm.memory.readUint(BigInt(DATA), 4), 0x41000000n);
  },

  "of the access kind stop after a read too": async (c) => {
    const vm = await guest(c);
    const bp = await orRefused(() => vm.breakpoints.add(gva(DATA), { access: "access", size: 1 }));
    if (bp === undefined) throw new NotHere("no means to watch reads");
    assert.equal((await until(vm, "watchpoint")).rip, at(4));
    const read = await until(vm, "watchpoint");
    assert.deepEqual([read.rip, read.registers.rax & 0xffn], [at(7), 0x41n], bp.how);
    await ended(c, vm);
  },

  "with a condition stop when it is true": async (c) => {
    // inc al; mov [p], al; loop back
    const vm = await guest(c, DATA, { rcx: 5n }, "fec0 8807 e2fa fa f4");
    const bp = await vm.breakpoints.add(gva(DATA), {
      access: "write",
      condition: (hit) => hit.registers.rax % 256n === 0x43n,
    });
    assert.equal((await until(vm, "watchpoint")).registers.rax & 0xffn, 0x43n);
    await bp.remove();
    await ended(c, vm);
    assert.equal(await vm.memory.readUint(BigInt(DATA), 1), 0x45n);
  },

  "that are removed don't stop": async (c) => {
    const vm = await guest(c);
    const bp = await vm.breakpoints.add(gva(DATA), { access: "write" });
    await bp.remove();
    await ended(c, vm);
    assert.equal(await vm.memory.readUint(BigInt(DATA), 1), 0x41n);
  },

  "stop a step as well": async (c) => {
    const vm = await guest(c);
    await vm.breakpoints.add(gva(DATA), { access: "write" });
    const stop = await vm.step(5);
    assert.deepEqual([stop.kind, stop.rip], ["watchpoint", at(4)]);
  },

  "live beside execute breakpoints": async (c) => {
    const vm = await guest(c);
    await vm.breakpoints.add(gva(DATA), { access: "write" });
    const bp = await vm.breakpoints.add(gva(CODE + 4));
    // The write's watchpoint and the breakpoint behind it are at the same place: both are told, in some order.
    const kinds = [
      (await vm.continue({ timeoutMs: PATIENCE_MS })).kind,
      (await vm.continue({ timeoutMs: PATIENCE_MS })).kind,
    ];
    assert.ok(kinds.includes("watchpoint"), `${kinds}`);
    assert.ok(bp.hits <= 1);
    assert.deepEqual(await vm.memory.read(at(0), 4), hex("fec0 8807"));
  },
});

const PORT = 0x777;
const silent = {
  name: "silent",
  ports: { start: PORT, length: 4 },
  read: (_: number, d: Uint8Array) => void d.fill(7),
};

/** Breaks on ports, MMIO and MSRs. */
export const ACCESS_CASES: readonly Case[] = group("access breaks", {
  "on a port stop behind the access, which is done": async (c) => {
    const vm = await c.guest({
      code: "ee 90 ec 90 fa f4",
      registers: { rax: 0x12n, rdx: BigInt(PORT) },
      devices: [silent],
    });
    const bp = await vm.breakpoints.onAccess({ space: "port", start: PORT });
    const out = await until(vm, "access");
    assert.deepEqual(
      [out.space, out.address, out.write, [...out.data], out.rip, out.breakpoint],
      ["port", BigInt(PORT), true, [0x12], at(1), bp],
    );
    const read = await until(vm, "access");
    assert.deepEqual([read.write, [...read.data], read.rip], [false, [7], at(3)]);
    assert.equal(read.registers.rax & 0xffn, 7n);
    await ended(c, vm);
    assert.equal(bp.hits, 2);
  },

  "of one direction let the other pass; ignore, once and conditions count": async (c) => {
    const vm = await c.guest({
      code: "ee ec fec0 e2fa fa f4", // out; in; inc al; loop
      registers: { rax: 0n, rcx: 5n, rdx: BigInt(PORT) },
      ...(c.backend.foreign && { devices: [{ ...silent, ports: { start: PORT - 1, length: 5 } }] }),
    });
    const bp = await vm.breakpoints.onAccess({
      space: "port",
      start: PORT - 1,
      length: 2,
      direction: "write",
      ignore: 1,
      once: true,
      condition: (access) => access.write && access.address === BigInt(PORT) && access.data.length === 1,
    });
    const stop = await until(vm, "access");
    assert.deepEqual([stop.write, stop.registers.rcx & 0xffffn, bp.hits], [true, 4n, 2]);
    assert.deepEqual([...vm.breakpoints], []);
    await ended(c, vm);
  },

  "on MMIO stop behind the access": async (c) => {
    const hole = (c.backend.hole ?? HOLE) + 0x10;
    const ones = {
      name: "ones",
      mmio: { start: hole, length: 4 },
      read: (_: number, d: Uint8Array) => void d.fill(255),
    };
    const vm = await c.guest({
      code: "8807 8a07 fa f4",
      registers: { ...pointer(hole, c.backend.mode), rax: 0x33n },
      ...(c.backend.foreign && { devices: [ones] }),
    });
    await vm.breakpoints.onAccess({ space: "mmio", start: hole, length: 4 });
    const write = await until(vm, "access");
    assert.deepEqual([write.space, write.address, write.write, [...write.data]], [
      "mmio",
      BigInt(hole),
      true,
      [0x33],
    ]);
    assert.equal(write.rip, at(2));
    const read = await until(vm, "access");
    assert.deepEqual([read.write, [...read.data], read.registers.rax & 0xffn], [false, [0xff], 0xffn]);
  },

  "on an MSR stop behind the access, and the MSR works": async (c) => {
    const vm = await c.guest({ code: "0f30 0f32 fa f4", registers: { rcx: 0x175n, rax: 0x1234n, rdx: 0n } });
    const bp = await orSkipped(() => vm.breakpoints.onAccess({ space: "msr", start: 0x175 }));
    const write = await until(vm, "access");
    assert.deepEqual([write.space, write.address, write.write, write.rip], ["msr", 0x175n, true, at(2)]);
    assert.deepEqual([...write.data], [0x34, 0x12, 0, 0, 0, 0, 0, 0]);
    assert.equal((await until(vm, "access")).write, false);
    await bp.remove();
    const end = await ended(c, vm);
    assert.equal(end.registers.rax, 0x1234n);
    assert.equal(await vm.vcpus[0].readMsr(0x175), 0x1234n);
  },

  "outside the space are refused": async (c) => {
    const vm = await c.guest({ code: "90" });
    await refused(Error, () => vm.breakpoints.onAccess({ space: "port", start: 0xffff, length: 2 }));
    await refused(Error, () => vm.breakpoints.onAccess({ space: "port", start: 0, length: 0 }));
    assert.deepEqual([...vm.breakpoints], []);
  },
});
