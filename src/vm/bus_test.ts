import assert from "node:assert/strict";
import fc from "fast-check";
import { Bus } from "./bus.ts";
import type { Device } from "./device.ts";
import { InputError } from "./errors.ts";

const RANGE = fc.record({ start: fc.nat(40), length: fc.integer({ min: 1, max: 6 }) });

Deno.test("whatever is plugged in and out, each port finds the device that is there", () => {
  const moves = fc.array(fc.tuple(fc.array(RANGE, { minLength: 1, maxLength: 3 }), fc.nat(5), fc.boolean()));
  fc.assert(
    fc.property(moves, (list) => {
      const bus = new Bus("port");
      const plugged: Device[] = [];
      for (const [ports, which, remove] of list) {
        if (remove && plugged.length > 0) bus.remove(plugged.splice(which % plugged.length, 1)[0]);
        const device: Device = { name: `device ${plugged.length}`, ports };
        try {
          bus.add(device);
          plugged.push(device);
        } catch (error) {
          assert(error instanceof InputError);
        }
        for (let port = 0; port < 50; port++) {
          const there = plugged.filter((d) =>
            (d.ports as typeof ports).some((r) => port >= r.start && port < r.start + r.length)
          );
          assert.equal(there.length <= 1, true);
          assert.equal(bus.find(port)?.device, there[0]);
        }
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});

Deno.test("a device gets the offset in its range, for ports and for MMIO", () => {
  const offsets: number[] = [];
  const read = (offset: number) => void offsets.push(offset);
  const device = {
    name: "d",
    ports: { start: 0x60, length: 8 },
    mmio: { start: 1n << 40n, length: 16 },
    read,
  };
  const port = new Bus("port");
  const mmio = new Bus("mmio");
  port.add(device);
  mmio.add(device);
  port.read(0x64, new Uint8Array(1));
  mmio.read((1n << 40n) + 12n, new Uint8Array(4));
  assert.deepEqual(offsets, [4, 12]);
});

Deno.test("a hypervisor is told of each range that comes and goes; refused, nothing stays", () => {
  const claimed = new Set<string>();
  const key = (...range: unknown[]) => range.join(" ");
  const bus = new Bus("port", {
    claim(space, first, last) {
      if (first === 0x60n) throw new Error("refused");
      claimed.add(key(space, first, last));
    },
    release: (space, first, last) => assert(claimed.delete(key(space, first, last))),
  });
  const two = { name: "two", ports: [{ start: 0x20, length: 2 }, { start: 0xa0, length: 1 }] };
  bus.add(two);
  assert.deepEqual([...claimed], ["port 32 33", "port 160 160"]);
  const refused = { name: "refused", ports: [{ start: 0x40, length: 4 }, { start: 0x60, length: 1 }] };
  assert.throws(() => bus.add(refused), /refused/);
  assert.equal(bus.find(0x40), undefined);
  assert.equal(claimed.size, 2);
  assert.throws(() => bus.add({ name: "over", ports: { start: 0x21, length: 1 } }), InputError);
  assert.equal(claimed.size, 2);
  bus.remove(two);
  assert.equal(claimed.size, 0);
});

Deno.test("bus: a range is served where its devices leave no gap", () => {
  const bus = new Bus("port");
  const at = (name: string, start: number, length: number) => ({ name, ports: { start, length } });
  bus.add(at("b", 0x104, 4));
  bus.add(at("a", 0x100, 4));
  bus.add(at("c", 0x109, 1));
  const cases = [[0x100n, 0x108n, true], [0x102n, 0x105n, true], [0x107n, 0x10an, false], [
    0xffn,
    0x101n,
    false,
  ]] as const;
  for (const [start, end, served] of cases) assert.equal(bus.serves(start, end), served, `${start}`);
});
