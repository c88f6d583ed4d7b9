/** The default PC, on the backend that works everywhere: memory attributes, moving ranges, DMA. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type Device, type DeviceHost, firmware, flat, type GuestMachine, MiB, open } from "../mod.ts";

/** 64 KiB of firmware that halts at the reset vector, with "ROM" at its start, which is 0xf0000 too. */
function rom(): Uint8Array {
  const bytes = new Uint8Array(0x10000);
  bytes.set(new TextEncoder().encode("ROM"));
  bytes[0xfff0] = 0xf4;
  return bytes;
}

async function setPci(vm: GuestMachine, place: number, register: number, size: 1 | 2 | 4, value: number) {
  await vm.writePort(0xcf8, 4, 0x8000_0000 + (place << 8) + (register & ~3));
  await vm.writePort(0xcfc + (register & 3), size, value);
}

/** A device that gives away what it is plugged into. */
function spy(): Device & { host?: DeviceHost } {
  return {
    name: "spy",
    ports: [],
    attach(host: DeviceHost) {
      this.host = host;
    },
  };
}

const bytes = (text: string) => new TextEncoder().encode(text);
const word = async (vm: GuestMachine, at: bigint) => new TextDecoder().decode(await vm.memory.read(at, 3));

Deno.test("pc: the bridge swaps ROM and RAM below 1 MiB, and RAM keeps its bytes", async () => {
  await using vm = await open({ backend: "fake", memory: MiB(2), boot: firmware(rom()) });
  assert.equal(await word(vm, 0xf0000n), "ROM");
  await assert.rejects(vm.memory.read(0xd0000n, 1), { name: "FaultError" });
  await setPci(vm, 0, 0x59, 1, 0x30);
  await vm.memory.write(0xf0000n, bytes("RAM"));
  await setPci(vm, 0, 0x59, 1, 0x00);
  assert.equal(await word(vm, 0xf0000n), "ROM");
  await setPci(vm, 0, 0x59, 1, 0x10);
  assert.equal(await word(vm, 0xf0000n), "RAM");
  const region = vm.memory.regions.find((r) => r.start === 0xf0000n);
  assert.deepEqual([region?.size, region?.readOnly], [0x10000n, true]);
  await vm.reset();
  assert.equal(await word(vm, 0xf0000n), "ROM");
});

Deno.test("pc: a guest without firmware has RAM there from the start", async () => {
  await using vm = await open({ backend: "fake", memory: MiB(2), boot: flat(Uint8Array.of(0xf4)) });
  assert.deepEqual(vm.memory.regions.map((r) => [r.name, r.size]), [["ram", 0x20_0000n]]);
});

Deno.test("pc: DMA does not write ROM, does not show breakpoints and does not remove them", async () => {
  await using vm = await open({ backend: "fake", memory: MiB(2), boot: firmware(rom()) });
  const device = spy();
  await vm.devices.add(device);
  const { host } = device;
  assert.ok(host !== undefined);
  host.write(0xf0000n, bytes("DMA"));
  assert.equal(await word(vm, 0xf0000n), "ROM");
  await setPci(vm, 0, 0x59, 1, 0x30);
  host.write(0xf0000n, bytes("DMA"));
  assert.equal(await word(vm, 0xf0000n), "DMA");
  await using bp = await vm.breakpoints.add(0x8001n, { kind: "software" });
  host.write(0x8000n, Uint8Array.of(0x90, 0x90, 0xf4));
  const seen = new Uint8Array(3);
  host.read(0x8000n, seen);
  assert.deepEqual([...seen], [0x90, 0x90, 0xf4]);
  await vm.vcpus[0].setRegisters({ rip: 0x8000n, cs_base: 0n });
  const stop = await vm.continue({ timeoutMs: 5000 });
  assert.deepEqual([stop.kind, stop.rip, bp.hits], ["breakpoint", 0x8001n, 1]);
});

Deno.test("pc: a breakpoint in ROM stays when the guest uncovers the RAM, and waits where there is nothing", async () => {
  await using vm = await open({ backend: "fake", memory: MiB(2), boot: firmware(rom()) });
  await using _bp = await vm.breakpoints.add(0xf0000n, { kind: "software" });
  await setPci(vm, 0, 0x5a, 1, 0x33);
  await using _other = await vm.breakpoints.add(0xc0000n, { kind: "software" });
  assert.equal(vm.memory.view?.(0xf0000n, 1)[0], 0xcc);
  await setPci(vm, 0, 0x59, 1, 0x30);
  assert.equal(vm.memory.view?.(0xf0000n, 1)[0], 0xcc);
  assert.equal(await word(vm, 0xf0000n), "\0\0\0");
  await setPci(vm, 0, 0x5a, 1, 0x00);
  await setPci(vm, 0, 0x59, 1, 0x00);
  assert.equal(await word(vm, 0xf0000n), "ROM");
  await setPci(vm, 0, 0x5a, 1, 0x33);
  assert.equal(vm.memory.view?.(0xc0000n, 1)[0], 0xcc);
});

Deno.test("pc: the guest moves the bus master's registers; over another device they answer nowhere", async () => {
  await using vm = await open({ backend: "fake", memory: MiB(2), boot: firmware(rom()) });
  const ranges = () => vm.devices.get("ide0")!.ranges.map((r) => Number(r.start));
  const ide = 0x09;
  assert.deepEqual(ranges(), []);
  await setPci(vm, ide, 0x04, 2, 0x0005);
  assert.deepEqual(ranges(), [0x170, 0x1f0, 0x376, 0x3f6]);
  await setPci(vm, ide, 0x20, 4, 0xd000);
  assert.equal(await vm.readPort(0xd002), 0n);
  await setPci(vm, ide, 0x20, 4, 0x03f0);
  assert.deepEqual(ranges(), []);
  assert.equal(await vm.readPort(0x3fd), 0x60n, "the serial port is still there");
  await setPci(vm, ide, 0x20, 4, 0xd000);
  assert.ok(ranges().includes(0xd000));
});

Deno.test("pc: two drives at one place, and a disk that is not there, are refused", async () => {
  const disk = new Uint8Array(512);
  const refused = (options: Parameters<typeof firmware>[1], message: RegExp) =>
    assert.rejects(open({ backend: "fake", boot: firmware(rom(), options) }), {
      name: "InputError",
      message,
    });
  await refused({ disk: [disk, disk, disk], cdrom: "empty" }, /hdc can't be a disk and the CD-ROM/);
  await refused({ disk: "/nonexistent.img" }, /nonexistent/);
  await refused({ disk: [disk, disk, disk, disk, disk] }, /four/);
});
