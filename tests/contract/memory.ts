import assert from "node:assert/strict";
import { FaultError, firmware, gpa, gva, InputError, MiB } from "../../mod.ts";
import {
  type Case,
  DATA,
  ended,
  endOf,
  group,
  hex,
  HOLE,
  MEMORY,
  NotHere,
  orSkipped,
  refused,
} from "./case.ts";

const IDLE = "fa f4";

/** Guest-physical and linear memory. */
export const MEMORY_CASES: readonly Case[] = group("memory", {
  "what is written is read, at any place and length, by both kinds of address": async (c) => {
    const vm = await c.guest({ code: IDLE });
    for (const [at, length] of [[DATA, 1], [DATA + 1, 7], [DATA + 0xffd, 9], [DATA + 3, 0x3001]]) {
      const bytes = Uint8Array.from({ length }, (_, i) => (i * 7 + length) & 255);
      await vm.memory.write(gpa(at), bytes);
      assert.deepEqual(await vm.memory.read(gpa(at), length), bytes);
      assert.deepEqual(await vm.vcpus[0].memory.read(gva(at), length), bytes);
      await vm.vcpus[0].memory.write(gva(at), [...bytes].reverse());
      assert.deepEqual(await vm.memory.read(gpa(at), length), bytes.reverse());
    }
    assert.equal((await vm.memory.read(gpa(DATA), 0)).length, 0);
  },

  "readInto fills what it is given and nothing else": async (c) => {
    const vm = await c.guest({ code: IDLE });
    await vm.memory.write(gpa(DATA), [1, 2, 3, 4]);
    const buffer = new Uint8Array(6).fill(9);
    await vm.memory.readInto(gpa(DATA), buffer.subarray(1, 5));
    assert.deepEqual([...buffer], [9, 1, 2, 3, 4, 9]);
  },

  "numbers are little-endian and must fit": async (c) => {
    const vm = await c.guest({ code: IDLE });
    await vm.memory.writeUint(gpa(DATA), 4, 0x11223344n);
    assert.deepEqual([...await vm.memory.read(gpa(DATA), 4)], [0x44, 0x33, 0x22, 0x11]);
    assert.equal(await vm.memory.readUint(gpa(DATA + 1), 2), 0x2233n);
    await refused(RangeError, () => vm.memory.writeUint(gpa(DATA), 1, 256n));
  },

  "a view is live": async (c) => {
    const vm = await c.guest({ code: IDLE });
    if (vm.memory.view === undefined) throw new NotHere("memory that is far away has no views");
    const view = vm.memory.view(gpa(DATA), 16);
    await vm.memory.write(gpa(DATA + 2), [5]);
    assert.equal(view[2], 5);
    view[3] = 6;
    assert.deepEqual([...await vm.memory.read(gpa(DATA + 2), 2)], [5, 6]);
    await refused(FaultError, () => vm.memory.view?.(gpa(MEMORY - 4), 8));
  },

  "search gives every place, lowest first, within its bounds": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const needle = hex("de ad be ef 01");
    const places = [DATA + 1, DATA + 0xffe, DATA + 0x2345, MEMORY - 5].map(BigInt);
    for (const at of places) await vm.memory.write(gpa(at), needle);
    assert.deepEqual(await vm.memory.search(needle), places);
    assert.deepEqual(await vm.memory.search(needle, { limit: 2 }), places.slice(0, 2));
    const bounds = { from: gpa(DATA + 2), to: gpa(DATA + 0x2345 + 5) };
    assert.deepEqual(await vm.memory.search(needle, bounds), places.slice(1, 3));
    assert.deepEqual(await vm.memory.search(needle, { ...bounds, to: gpa(DATA + 0x2345 + 4) }), [places[1]]);
    await vm.memory.write(gpa(DATA), new TextEncoder().encode("Grüße"));
    assert.deepEqual(await vm.memory.search("Grüße"), [BigInt(DATA)]);
    assert.deepEqual(await vm.memory.search("not there at all"), []);
  },

  "fill repeats its pattern to the last byte": async (c) => {
    const vm = await c.guest({ code: IDLE });
    await vm.memory.fill(gpa(DATA), 0x1003, hex("01 02 03 04"));
    const bytes = await vm.memory.read(gpa(DATA), 0x1004);
    assert.deepEqual([...bytes.subarray(0x0ffe)], [3, 4, 1, 2, 3, 0]);
    await vm.memory.fill(gpa(DATA), 2, 7);
    assert.deepEqual([...await vm.memory.read(gpa(DATA), 3)], [7, 7, 3]);
  },

  "a fill that goes on past the end of memory writes nothing": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const before = await vm.memory.readUint(gpa(DATA), 8);
    await refused(FaultError, () => vm.memory.fill(gpa(DATA), endOf(vm), ~Number(before & 0xffn) & 0xff));
    assert.equal(await vm.memory.readUint(gpa(DATA), 8), before);
  },

  "an access that leaves memory fails as a whole and names the first byte that is not there": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const end = endOf(vm);
    if (c.backend.ram === undefined) assert.equal(end, MEMORY);
    await vm.memory.write(gpa(end - 2), [0, 0]);
    for (
      const call of [
        () => vm.memory.read(gpa(end - 2), 4),
        () => vm.memory.write(gpa(end - 2), [1, 2, 3, 4]),
        () => vm.memory.readInto(gpa(end), new Uint8Array(1)),
      ]
    ) {
      const error = await refused(FaultError, call);
      assert.equal(error.space, "gpa");
      assert.equal(error.address, BigInt(end));
    }
    assert.deepEqual([...await vm.memory.read(gpa(end - 2), 2)], [0, 0]);
    await refused(FaultError, () => vm.memory.read(gpa(c.backend.hole ?? HOLE), 1));
  },

  "an access does not wrap around the end of the address space": async (c) => {
    const vm = await c.guest({ code: IDLE });
    await refused(FaultError, () => vm.memory.read(gpa(2n ** 64n - 4n), 8));
    await refused(FaultError, () => vm.memory.write(gpa(2n ** 64n - 1n), [1, 2]));
    await refused(FaultError, () => vm.vcpus[0].memory.read(gva(2n ** 64n - 4n), 8));
  },

  "a linear address that is not mapped names the level that failed": {
    modes: ["long"],
    async run(c) {
      const vm = await c.guest({ code: IDLE, mode: "long" });
      const { memory } = vm.vcpus[0];
      const hole = 1n << 39n;
      const error = await refused(FaultError, () => memory.read(gva(hole), 1));
      assert.deepEqual([error.space, error.address, error.level], ["gva", hole, "PML4E"]);
      const translation = await memory.translate(gva(hole));
      assert.equal(translation.gpa, undefined);
      assert.equal(translation.failure?.level, "PML4E");
      const found = await memory.translate(gva(DATA + 5));
      assert.deepEqual([found.paging, found.gpa], ["4-level", BigInt(DATA + 5)]);
    },
  },

  "addresses of the other space are refused": async (c) => {
    const vm = await c.guest({ code: IDLE });
    await refused(InputError, () => vm.memory.read(gva(DATA) as never, 1));
    await refused(InputError, () => vm.vcpus[0].memory.read(gpa(DATA) as never, 1));
  },

  "the regions are sorted, do not overlap, and are all the memory there is": async (c) => {
    const vm = await c.guest({ code: IDLE });
    let end = 0n;
    let total = 0n;
    for (const { start, size, readOnly } of vm.memory.regions) {
      assert.ok(start >= end);
      end = start + size;
      if (!readOnly) total += size;
      await vm.memory.read(gpa(start), 1);
      await vm.memory.read(gpa(end - 1n), 1);
    }
    assert.equal(total, BigInt(await c.backend.ram?.(vm) ?? MEMORY));
  },

  "ROM is read by the guest, written by the debugger alone": {
    modes: ["real"],
    async run(c) {
      // At the reset vector, CS base 0xffff0000: mov al, 0x55; mov cs:[0], al; mov al, cs:[0]; out 0xe9; cli; hlt
      const image = new Uint8Array(0x10000);
      image[0] = 0xea;
      image.set(hex("e9 0d ff"), 0xfff0);
      image.set(hex("b055 2ea20000 2ea00000 88c4 fa f4"), 0xff00);
      const start = () => c.open({ memory: MiB(2), boot: firmware(image) });
      const vm = c.backend.firmware === false ? await orSkipped(start) : await start();
      const stop = await ended(c, vm);
      assert.equal(stop.registers.rax & 0xffn, 0xean, "the guest's write had no effect");
      const rom = 0xffff0000n;
      assert.equal(await vm.memory.readUint(gpa(rom), 1), 0xean);
      assert.ok(vm.memory.regions.some((r) => r.readOnly && r.start <= rom && rom < r.start + r.size));
      await vm.memory.write(gpa(rom), [0x12]);
      assert.equal(await vm.memory.readUint(gpa(rom), 1), 0x12n);
    },
  },
});
