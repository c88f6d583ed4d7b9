import assert from "node:assert/strict";
import { type Device, type DeviceHost, gpa, InputError, type RegisterValues } from "../../mod.ts";
import {
  type Case,
  CODE,
  DATA,
  ended,
  go,
  group,
  hex,
  HOLE,
  pointer,
  refused,
  until,
  wants,
} from "./case.ts";

const PORT = 0x777;
/** 16 bytes that read as 0x80 and their offset; each write is put into `seen`, behind its offset. */
const mmioWindow = (start: number, seen: number[][]): Device => ({
  name: "window",
  mmio: { start, length: 0x10 },
  read: (offset, data) => void data.fill(0x80 + offset),
  write: (offset, data) => void seen.push([offset, ...data]),
});
const at = (offset: number) => BigInt(CODE + offset);

/** A device that remembers. */
class Cell implements Device {
  readonly name: string;
  readonly ports: { start: number; length: number };
  value = 0;
  detached = 0;
  host: DeviceHost | undefined;

  constructor(name = "cell", start = PORT) {
    this.name = name;
    this.ports = { start, length: 1 };
  }

  read(_offset: number, data: Uint8Array): void {
    data[0] = this.value;
  }

  write(_offset: number, data: Uint8Array): void {
    this.value = (data[0] * 2) & 255;
  }

  attach(host: DeviceHost): void {
    this.host = host;
  }

  detach(): void {
    this.detached++;
  }
}

/** out dx, al; in al, dx; cli; hlt */
const OUT_IN = "ee ec fa f4";
const portRegisters = { rax: 0x11n, rdx: BigInt(PORT) };

/** Devices of the user's own. */
export const DEVICE_CASES: readonly Case[] = group("devices", {
  "answer, as classes and as plain objects, from the start or added to a paused guest": async (c) => {
    const vm = await c.guest({ code: OUT_IN, registers: portRegisters, devices: [new Cell()] });
    assert.equal((await ended(c, vm)).registers.rax & 0xffn, 0x22n);
    const other = await c.guest({ code: OUT_IN, registers: portRegisters });
    const handle = await other.devices.add({
      name: "answer",
      ports: { start: PORT, length: 1 },
      read: (_offset, data) => void data.fill(42),
    });
    assert.equal((await ended(c, other)).registers.rax & 0xffn, 42n);
    assert.equal(handle.name, "answer");
    assert.equal(other.devices.get("answer"), handle);
    assert.ok(other.devices.list().includes(handle));
    assert.deepEqual(handle.ranges.map((r) => [r.space, Number(r.start), Number(r.length)]), [[
      "port",
      PORT,
      1,
    ]]);
  },

  "can be added to a running guest, and taken out": async (c) => {
    // in al, dx; cmp al, 42; jne back; cli; hlt
    const vm = await c.guest({ code: "ec 3c2a 75fb fa f4", registers: portRegisters });
    wants(c, vm, "devices");
    const running = go(vm);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const handle = await vm.devices.add({
      name: "answer",
      ports: { start: PORT, length: 1 },
      read: (_offset, data) => void data.fill(42),
    });
    assert.equal((await running).kind, "halt");
    await handle.remove();
    await handle.remove();
    assert.equal(vm.devices.get("answer"), undefined);
    await vm.vcpus[0].setRegisters({ rip: at(0), rax: 0n });
    const stop = await vm.step();
    assert.equal(stop.registers.rax & 0xffn, 0xffn, "nobody answers: ones");
  },

  "get offset and size of ports as the guest accesses them": async (c) => {
    const seen: number[][] = [];
    const device: Device = {
      name: "wide",
      ports: { start: PORT - 3, length: 8 },
      read: (offset, data) => {
        seen.push([0, offset, data.length]);
        for (let i = 0; i < data.length; i++) data[i] = 0x10 + i;
      },
      write: (offset, data) => void seen.push([1, offset, ...data]),
    };
    // out dx, eax / ax; in eax / ax, dx
    const vm = await c.guest({
      code: "ef ed fa f4",
      registers: { rax: 0x04030201n, rdx: BigInt(PORT) },
      devices: [device],
    });
    const stop = await ended(c, vm);
    const wide = c.backend.mode === "real" ? 2 : 4;
    assert.deepEqual(seen, [[1, 3, ...[1, 2, 3, 4].slice(0, wide)], [0, 3, wide]]);
    assert.equal(stop.registers.rax & 0xffffffffn, wide === 2 ? 0x04031110n : 0x13121110n);
  },

  "answer at guest-physical addresses": async (c) => {
    const seen: number[][] = [];
    const { hole = HOLE } = c.backend;
    const device = mmioWindow(hole, seen);
    const vm = await c.guest({
      code: "8807 8a07 fa f4",
      registers: { ...pointer(hole + 5, c.backend.mode), rax: 0x33n },
      devices: [device],
    });
    const stop = await ended(c, vm);
    assert.deepEqual(seen, [[5, 0x33]]);
    assert.equal(stop.registers.rax & 0xffn, 0x85n);
  },

  "get string instructions at guest-physical addresses element by element": async (c) => {
    const seen: number[][] = [];
    const { hole = HOLE } = c.backend;
    const device = mmioWindow(hole, seen);
    const memory = pointer(DATA, c.backend.mode);
    const window = pointer(hole, c.backend.mode);
    const destination = ({ es, es_base, rdi }: RegisterValues) => ({
      rdi,
      ...(es !== undefined && { es }),
      ...(es_base !== undefined && { es_base }),
    });
    // rep stosb; mov cl, 3; rep movsb
    const vm = await c.guest({
      code: "f3aa b103 f3a4 fa f4",
      registers: { ...memory, ...destination(window), rcx: 4n, rax: 0x5an },
      devices: [device],
    });
    await vm.memory.write(gpa(DATA), Uint8Array.of(1, 2, 3));
    await ended(c, vm);
    const filled = [0, 1, 2, 3].map((offset) => [offset, 0x5a]);
    assert.deepEqual(seen, [...filled, [4, 1], [5, 2], [6, 3]]);
    const other = await c.guest({
      code: "f3a4 fa f4",
      registers: { ...window, ...destination(memory), rcx: 3n },
      devices: [device],
    });
    await ended(c, other);
    assert.deepEqual([...await other.memory.read(gpa(DATA), 3)], [0x80, 0x81, 0x82]);
  },

  "get string I/O element by element": async (c) => {
    const text = "hello, port";
    const got: number[] = [];
    const device: Device = {
      name: "stream",
      ports: { start: PORT, length: 1 },
      read: (_offset, data) => void (data[0] = got.length === 0 ? 0 : got.shift()!),
      write: (_offset, data) => void got.push(data[0]),
    };
    // rep outsb; mov ecx/cx from ebp/bp; rep insb
    const vm = await c.guest({
      code: "f36e 89e9 f36c fa f4",
      registers: {
        ...pointer(DATA, c.backend.mode),
        rdx: BigInt(PORT),
        rcx: BigInt(text.length),
        rbp: BigInt(text.length),
      },
      devices: [device],
    });
    await vm.memory.write(gpa(DATA), new TextEncoder().encode(text));
    const { rdi } = await vm.vcpus[0].registers();
    await vm.vcpus[0].setRegisters({ rdi: rdi + 0x100n });
    const stop = await ended(c, vm);
    assert.equal(new TextDecoder().decode(await vm.memory.read(gpa(DATA + 0x100), text.length)), text);
    assert.equal(stop.registers.rcx & 0xffffn, 0n);
  },

  "that nobody put there read as ones and swallow writes": async (c) => {
    const vm = await c.guest({ code: OUT_IN, registers: portRegisters });
    wants(c, vm, "devices");
    assert.equal((await ended(c, vm)).registers.rax & 0xffn, 0xffn);
    const registers = pointer(c.backend.hole ?? HOLE, c.backend.mode);
    const hole = await c.guest({ code: "8807 8a07 fa f4", registers });
    assert.equal((await ended(c, hole)).registers.rax & 0xffn, 0xffn);
  },

  "that throw stop the guest at the access, which lives on": async (c) => {
    const device: Device = {
      name: "broken",
      ports: { start: PORT, length: 1 },
      read: () => {
        throw new Error("out of order");
      },
    };
    const vm = await c.guest({ code: "90 ec fec0 fa f4", registers: portRegisters, devices: [device] });
    const stop = await until(vm, "fault");
    assert.match(stop.reason, /broken/);
    assert.match(stop.reason, /out of order/);
    assert.match(stop.reason, /777/);
    assert.ok(stop.error instanceof Error);
    assert.equal(stop.rip, at(2), "the access counts as done");
    const end = await ended(c, vm);
    assert.equal(end.rip, at(6));
  },

  "reach guest memory and are told when they are taken out": async (c) => {
    const cell = new Cell();
    const vm = await c.guest({ code: OUT_IN, devices: [cell] });
    cell.host?.write(BigInt(DATA), hex("01 02 03"));
    const into = new Uint8Array(2);
    cell.host?.read(BigInt(DATA + 1), into);
    assert.deepEqual([...into], [2, 3]);
    assert.deepEqual([...await vm.memory.read(gpa(DATA), 3)], [1, 2, 3]);
    assert.throws(() => cell.host?.read(BigInt(c.backend.hole ?? HOLE), into));
    await vm.close();
    assert.equal(cell.detached, 1);
  },

  "that overlap, have no place, or lie over memory are refused": async (c) => {
    const vm = await c.guest({ code: OUT_IN, devices: [new Cell()] });
    const before = vm.devices.list().length;
    for (
      const device of [
        new Cell("cell", PORT + 8),
        new Cell("other"),
        { name: "", ports: { start: 1, length: 1 } },
        { name: "nowhere" },
        { name: "empty", ports: { start: PORT + 1, length: 0 } },
        { name: "beyond", ports: { start: 0xffff, length: 2 } },
        { name: "over-ram", mmio: { start: DATA, length: 16 } },
        { name: "half", ports: { start: PORT + 9, length: 1 }, mmio: { start: DATA, length: 16 } },
      ]
    ) await refused(InputError, () => vm.devices.add(device));
    assert.equal(vm.devices.list().length, before);
    await vm.devices.add({ name: "half", ports: { start: PORT + 9, length: 1 } });
  },

  "show in the trace and the statistics": async (c) => {
    const vm = await c.guest({ code: OUT_IN, registers: portRegisters, devices: [new Cell()] });
    await ended(c, vm);
    const entries = vm.trace.entries({ kind: "port", from: PORT, to: PORT });
    assert.deepEqual(entries.map((e) => [e.write, e.value, e.device]), [[true, 0x11n, "cell"], [
      false,
      0x22n,
      "cell",
    ]]);
    const row = vm.trace.statistics().addresses.find((a) => a.address === BigInt(PORT));
    assert.deepEqual([row?.reads, row?.writes], [1, 1]);
  },
});
