import assert from "node:assert/strict";
import fc from "fast-check";
import { refusesForeign, runs } from "./device_contract.ts";
import { FwCfg } from "./fw_cfg.ts";
import { bootOrder, e820Table, littleEndian, machineMemoryMap } from "./fw_cfg_items.ts";
import { MockGuest } from "./mock_guest.ts";

const ascii = (text: string) => new TextEncoder().encode(text);

function machine(dma = true) {
  const device = new FwCfg({ memory: 64 << 20, cpus: 2, maxCpus: 4, bootMenu: true, dma });
  device.items.addFile("opt/zebra", ascii("stripes"));
  device.items.addFile("etc/e820", e820Table([{ start: 0n, length: 0x400_0000n, type: 1 }]));
  const written: string[] = [];
  device.items.addFile("etc/note", ascii("........"), {
    writable: true,
    written: (bytes) => written.push(new TextDecoder().decode(bytes)),
  });
  const guest = new MockGuest([device]);
  return { device, guest, written };
}

function item(guest: MockGuest, key: number, length: number): number[] {
  guest.out(0x510, key, 2);
  return Array.from({ length }, () => guest.in(0x511));
}

/** A DMA operation: writes the structure at 0x1000, triggers it, gives the control word. */
function dma(guest: MockGuest, control: number, length: number, address: bigint, at = 0x1000): number {
  const view = new DataView(guest.memory.buffer);
  view.setUint32(at, control);
  view.setUint32(at + 4, length);
  view.setBigUint64(at + 8, address);
  const big = new Uint8Array(4);
  new DataView(big.buffer).setUint32(0, at);
  guest.out(0x518, new DataView(big.buffer).getUint32(0, true), 4);
  return view.getUint32(at);
}

Deno.test("fw_cfg: signature, revision, sizes and CPU counts", () => {
  const { guest } = machine();
  assert.deepEqual(item(guest, 0, 6), [...ascii("QEMU"), 0, 0]);
  assert.deepEqual(item(guest, 1, 4), [3, 0, 0, 0]);
  assert.deepEqual(item(guest, 3, 8), [0, 0, 0, 4, 0, 0, 0, 0]);
  assert.deepEqual(item(guest, 5, 2), [2, 0]);
  assert.deepEqual(item(guest, 15, 2), [4, 0]);
  assert.deepEqual(item(guest, 14, 2), [1, 0]);
  assert.deepEqual(item(guest, 0x3abc, 2), [0, 0]);
  assert.deepEqual(item(machine(false).guest, 1, 4), [1, 0, 0, 0]);
});

Deno.test("fw_cfg: selecting starts the item again, and the write channel is the same item", () => {
  const { guest } = machine();
  assert.equal(item(guest, 0, 2)[1], 0x45);
  assert.equal(item(guest, 0, 1)[0], 0x51);
  assert.equal(item(guest, 0x4000, 1)[0], 0x51);
  guest.out(0x511, 0xff); // ignored
  assert.equal(guest.in(0x511), 0x45);
});

Deno.test("fw_cfg: the directory is sorted and leads to the files", () => {
  const { guest } = machine();
  const directory = new Uint8Array(item(guest, 0x19, 4 + 3 * 64));
  const view = new DataView(directory.buffer);
  assert.equal(view.getUint32(0), 3);
  const names = [0, 1, 2].map((i) => {
    const at = 4 + 64 * i;
    assert.equal(view.getUint16(at + 4), 0x20 + i);
    return new TextDecoder().decode(directory.subarray(at + 8, directory.indexOf(0, at + 8)));
  });
  assert.deepEqual(names, ["etc/e820", "etc/note", "opt/zebra"]);
  assert.equal(view.getUint32(4 + 128), 7);
  assert.deepEqual(item(guest, 0x22, 8), [...ascii("stripes"), 0]);
  const entry = item(guest, 0x20, 20);
  assert.deepEqual(entry, [...littleEndian(0, 8), ...littleEndian(0x400_0000, 8), ...littleEndian(1, 4)]);
});

Deno.test("fw_cfg: what can't be a file or a key is refused", () => {
  const { device } = machine();
  for (const name of ["", "a b", "x".repeat(56), "f\u00fcr"]) {
    assert.throws(() => device.items.addFile(name, new Uint8Array(1)), { name: "InputError" });
  }
  for (const key of [-1, 0x4000, 0x19, 0x20, 0x10000, 1.5]) {
    assert.throws(() => device.items.set(key, new Uint8Array(1)), { name: "InputError" });
  }
  assert.equal(device.items.removeFile("opt/zebra"), true);
  assert.equal(device.items.files.length, 2);
});

Deno.test("fw_cfg: the DMA register shows its signature", () => {
  const { guest } = machine();
  assert.equal(guest.in(0x514, 4), 0x554d4551); // "QEMU" in memory order
  assert.equal(guest.in(0x518, 4), 0x47464320);
  assert.equal(machine(false).guest.in(0x514, 4), 0xffffffff);
});

Deno.test("fw_cfg: DMA selects, reads with zeros behind the end, skips, and clears control", () => {
  const { guest } = machine();
  guest.memory.fill(0xaa, 0x2000, 0x2010);
  assert.equal(dma(guest, 0x0022_000a, 10, 0x2000n), 0);
  assert.deepEqual([...guest.memory.subarray(0x2000, 0x200b)], [...ascii("stripes"), 0, 0, 0, 0xaa]);
  assert.equal(dma(guest, 0x0022_000c, 3, 0n), 0);
  assert.equal(dma(guest, 2, 2, 0x2000n), 0);
  assert.deepEqual([...guest.memory.subarray(0x2000, 0x2002)], [...ascii("ip")]);
  assert.equal(guest.in(0x511), 0x65); // the offset is shared with the data register
  assert.equal(dma(guest, 0x0022_0008, 0xffff_ffff, 0n), 0);
});

Deno.test("fw_cfg: DMA writes go to writable files that they fit, and nowhere else", () => {
  const { guest, written } = machine();
  guest.memory.set(ascii("remember"), 0x2000);
  assert.equal(dma(guest, 0x0021_0018, 8, 0x2000n), 0);
  assert.deepEqual(written, ["remember"]);
  assert.deepEqual(item(guest, 0x21, 8), [...ascii("remember")]);
  assert.equal(dma(guest, 0x0021_0018, 9, 0x2000n), 1);
  assert.equal(dma(guest, 0x0022_0018, 1, 0x2000n), 1);
  assert.equal(dma(guest, 0x0000_0018, 1, 0x2000n), 1);
});

Deno.test("fw_cfg: DMA to what is not memory sets the error bit, or has no place to", () => {
  const { guest } = machine();
  assert.equal(dma(guest, 0x0022_000a, 7, 0xfffcn), 1);
  assert.equal(dma(guest, 0x0022_000a, 7, 0xffff_ffff_ffff_ffffn), 1);
  assert.equal(dma(guest, 0x0022_000a, 0xffff_ffff, 0x2000n), 1);
  guest.out(0x518, 0xf8ff0000, 4); // structure at 0xfff8: its end is not memory
  guest.out(0x514, 0xffffffff, 4);
  guest.out(0x518, 0xffffffff, 4);
  assert.equal(dma(guest, 0x0022_000a, 1, 0x2000n), 0); // the high half was cleared
});

Deno.test("fw_cfg: saved with what the guest wrote; other files are refused and nothing changes", () => {
  const { guest, device } = machine();
  guest.memory.set(ascii("remember"), 0x2000);
  dma(guest, 0x0021_0018, 8, 0x2000n);
  item(guest, 0x22, 3);
  const saved = JSON.parse(JSON.stringify(device.save()));
  const other = machine();
  other.device.restore(saved);
  assert.deepEqual(other.device.save(), saved);
  assert.equal(other.guest.in(0x511), 0x69);
  other.device.items.addFile("a/first", new Uint8Array(2)); // moves every key
  assert.throws(() => other.device.restore(saved), { name: "InputError" });
  for (const bad of [undefined, { ...saved, device: "uart16550" }, { ...saved, contents: 3 }]) {
    assert.throws(() => device.restore(bad), { name: "InputError" });
  }
  assert.deepEqual(device.save(), saved);
  refusesForeign(device);
});

Deno.test("fw_cfg: builders of items", () => {
  assert.deepEqual([...littleEndian(0x3f8, 2)], [0xf8, 3]);
  const sizes = (memory: number) =>
    machineMemoryMap(memory).map((e) => `${e.start.toString(16)}+${e.length.toString(16)}:${e.type}`);
  assert.deepEqual(sizes(64 << 20), ["0+4000000:1", "fffbc000+4000:2"]);
  assert.deepEqual(sizes(5 * 2 ** 30), ["0+c0000000:1", "fffbc000+4000:2", "100000000+80000000:1"]);
  assert.equal(new TextDecoder().decode(bootOrder(["/a", "/b"])), "/a\n/b\0");
});

Deno.test("fw_cfg: any sequence stays inside memory and never throws", () => {
  const edge = fc.constantFrom(0, 1, 0xffff, 0x10000, 0xfff0, 0x7fffffff, 0x80000000, 0xffffffff);
  const number = fc.oneof(edge, fc.integer({ min: 0, max: 0xffffffff }), fc.nat(0x10010));
  const step = fc.oneof(
    fc.record({
      kind: fc.constant("out" as const),
      port: fc.constantFrom(0x510, 0x511, 0x514, 0x516, 0x518, 0x51b),
      value: number,
      size: fc.constantFrom(1 as const, 2 as const, 4 as const),
    }),
    fc.record({ kind: fc.constant("in" as const), port: fc.constantFrom(0x510, 0x511, 0x514, 0x51a) }),
    fc.record({
      kind: fc.constant("dma" as const),
      flags: fc.nat(31),
      key: number,
      length: number,
      address: number,
    }),
    fc.record({ kind: fc.constant("reset" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const { guest, device } = machine();
      for (const s of steps) {
        if (s.kind === "in") guest.in(s.port);
        else if (s.kind === "out") guest.out(s.port, s.value, s.size);
        else if (s.kind === "reset") device.reset();
        else dma(guest, (s.key << 16 | s.flags) >>> 0, s.length, BigInt(s.address));
        device.restore(device.save());
      }
      assert.equal(guest.memory.length, 0x10000);
      assert.equal(device.items.files.length, 3);
    }),
    { seed: 510, numRuns: runs(300) },
  );
});
