import assert from "node:assert/strict";
import fc from "fast-check";
import { MockGuest } from "../mock_guest.ts";
import { MockDriver } from "./mock_driver.ts";
import { FEATURE, STATUS } from "./spec.ts";
import { passed } from "./split_queue.ts";
import { VirtioMmio } from "./virtio_mmio.ts";
import type { VirtioType } from "./virtio_type.ts";

const AT = 0xd000_0000n;
const FORMATS = [
  ["split", 0n],
  ["split, event index", FEATURE.EVENT_IDX],
  ["packed", FEATURE.RING_PACKED],
  ["packed, event index", FEATURE.RING_PACKED | FEATURE.EVENT_IDX],
] as const;

/** Gives what it gets, backwards. */
function mirror(): VirtioType {
  return {
    name: "mirror",
    id: 42,
    queues: [8, 8],
    request: (chain) => void chain.write(0, chain.readAll(4096).reverse()),
  };
}

function machine(type: VirtioType, features = 0n, size = 8) {
  const guest = new MockGuest([], 0x40000);
  const device = guest.add(new VirtioMmio(type, { place: { at: AT, irq: 5 } }));
  const driver = new MockDriver(guest, { at: AT, features: features | FEATURE.INDIRECT_DESC, size });
  return { guest, device, driver };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (text: string) => new TextEncoder().encode(text);

for (const [name, features] of FORMATS) {
  Deno.test(`virtqueue, ${name}: requests of several buffers come back, for many laps of the ring`, () => {
    const { driver } = machine(mirror(), features);
    driver.start(1);
    for (let i = 0; i < 100; i++) {
      const sent = `request ${i}`;
      const indirect = i % 3 === 0;
      const answer = driver.ask(0, [bytes(sent.slice(0, 4)), bytes(sent.slice(4)), 3, 20], { indirect });
      assert.equal(text(answer.subarray(0, sent.length)), [...sent].reverse().join(""));
      assert.deepEqual([...answer.subarray(sent.length)], new Array(23 - sent.length).fill(0));
    }
  });

  Deno.test(`virtqueue, ${name}: the driver is told how many bytes were written`, () => {
    const { driver } = machine(mirror(), features);
    driver.start(1);
    driver.offer(0, [bytes("abc"), 10]);
    driver.kick(0);
    assert.equal(driver.taken(0)[0].written, 3);
  });

  Deno.test(`virtqueue, ${name}: one kick serves all that waits, one interrupt tells of it`, () => {
    const { driver, guest } = machine(mirror(), features);
    driver.start(1);
    for (const word of ["one", "two", "six"]) driver.offer(0, [bytes(word), 3]);
    driver.kick(0);
    assert.deepEqual(driver.taken(0).map((a) => text(a.bytes)), ["eno", "owt", "xis"]);
    assert.deepEqual([guest.line(5).edges, driver.get(0x060)], [1, 1]);
    driver.set(0x064, 1);
    assert.equal(guest.line(5).level, false);
  });

  Deno.test(`virtqueue, ${name}: a driver that refills its queue all the while is served, and others too`, () => {
    let left = 0;
    let answered = 0;
    const refill: VirtioType = {
      name: "refill",
      id: 42,
      queues: [8, 8],
      request(_chain, index) {
        answered++;
        if (index === 1 || left-- <= 0) return;
        driver.taken(0);
        driver.offer(0, [bytes("more")]);
      },
    };
    const { driver, guest } = machine(refill, features);
    driver.start(2);
    // More than was once the end of it, with nobody to kick for the rest.
    left = 40_000;
    driver.offer(0, [bytes("first")]);
    driver.kick(0);
    assert.ok(answered < 20, `${answered} at one go`);
    assert.equal(guest.line(5).level, true);
    driver.ask(1, [bytes("me too")]);
    while (guest.clock.poll() > 0);
    assert.equal(answered, 40_002);
  });

  Deno.test(`virtqueue, ${name}: a request that comes while the device looks is seen whole, or not yet`, () => {
    const { driver, guest } = machine(mirror(), features);
    driver.start(1);
    // What the entries said a lap before is something else.
    for (let i = 0; i < 8; i++) driver.ask(0, [bytes("before"), 6]);
    const read = guest.read.bind(guest);
    let late = 0;
    guest.read = (at, into) => {
      // Bytes are loaded one behind the other, and the driver is done before the last of them.
      read(at, into);
      if (late++ !== 0) return;
      driver.offer(0, [bytes("a late one"), 10], { indirect: true });
      const last = into.subarray(-2);
      read(at + BigInt(into.length - last.length), last);
    };
    driver.kick(0);
    guest.read = read;
    driver.kick(0);
    assert.deepEqual(driver.taken(0).map((a) => text(a.bytes)), ["eno etal a"]);
  });

  Deno.test(`virtqueue, ${name}: any mixture of requests comes back whole and in order`, () => {
    const request = fc.record({
      parts: fc.array(fc.uint8Array({ maxLength: 30 }), { minLength: 1, maxLength: 3 }),
      indirect: fc.boolean(),
    });
    const { driver } = machine(mirror(), features);
    fc.assert(
      fc.property(fc.array(fc.array(request, { maxLength: 2 }), { maxLength: 30 }), (batches) => {
        driver.start(1);
        for (const batch of batches) {
          const sent = batch.map(({ parts, indirect }) => {
            const all = parts.flatMap((p) => [...p]);
            driver.offer(0, [...parts, all.length], { indirect });
            return all.reverse();
          });
          driver.kick(0);
          assert.deepEqual(driver.taken(0).map((a) => [...a.bytes]), sent);
        }
      }),
      { seed: 7, numRuns: 100 },
    );
  });

  Deno.test(`virtqueue, ${name}: answers that come later, in any order`, () => {
    const held: Parameters<VirtioType["request"]>[0][] = [];
    let link: Parameters<NonNullable<VirtioType["start"]>>[0] | undefined;
    const { driver, guest } = machine({
      ...mirror(),
      start: (l) => link = l,
      request: (chain) => (held.push(chain), "later"),
    }, features);
    driver.start(1);
    const ids = ["a", "b", "c"].map((word) => driver.offer(0, [bytes(word), 1]));
    driver.kick(0);
    assert.deepEqual([driver.taken(0).length, guest.line(5).edges], [0, 0]);
    for (const i of [2, 0, 1]) {
      held[i].write(0, Uint8Array.of(i));
      link?.complete(0, held[i]);
    }
    assert.deepEqual(driver.taken(0).map((a) => [a.id, a.bytes[0]]), [[ids[2], 2], [ids[0], 0], [ids[1], 1]]);
    assert.equal(guest.line(5).level, true);
  });

  Deno.test(`virtqueue, ${name}: a state saved between requests goes on in another device`, () => {
    const first = machine(mirror(), features);
    first.driver.start(1);
    for (let i = 0; i < 11; i++) first.driver.ask(0, [bytes("abcd"), 4]);
    const saved = JSON.parse(JSON.stringify(first.device.save()));
    const other = new VirtioMmio(mirror(), { place: { at: AT, irq: 5 } });
    const guest = new MockGuest([], 0x40000);
    guest.memory.set(first.guest.memory);
    guest.add(other).restore(saved);
    const driver = Object.assign(
      new MockDriver(guest, { at: AT, size: 8, heap: 0x1_0000 }),
      { features: first.driver.features, rings: first.driver.rings },
    );
    for (let i = 0; i < 11; i++) assert.equal(text(driver.ask(0, [bytes("abcd"), 4])), "dcba");
  });
}

Deno.test("virtqueue: no interrupt where the driver does not want one", () => {
  const { driver, guest } = machine(mirror());
  driver.start(1);
  driver.view.setUint16(driver.rings[0].driver, 1, true); // VIRTQ_AVAIL_F_NO_INTERRUPT
  driver.ask(0, [bytes("abc"), 3]);
  assert.equal(guest.line(5).edges, 0);
});

Deno.test("virtqueue: with event index the interrupt comes at the entry that the driver named", () => {
  const { driver, guest } = machine(mirror(), FEATURE.EVENT_IDX);
  driver.start(1);
  driver.view.setUint16(driver.rings[0].driver + 4 + 2 * driver.size, 2, true); // used_event
  for (const expected of [0, 0, 1, 1]) {
    driver.ask(0, [bytes("abc"), 3]);
    assert.equal(guest.line(5).edges, expected);
    driver.set(0x064, 3);
  }
});

Deno.test("virtqueue, packed: with event index the interrupt comes at the entry that the driver named", () => {
  const { driver, guest } = machine(mirror(), FEATURE.EVENT_IDX | FEATURE.RING_PACKED);
  driver.start(1);
  const { driver: area } = driver.rings[0];
  driver.view.setUint16(area + 2, 2, true); // RING_EVENT_FLAGS_DESC
  driver.view.setUint16(area, 4 | 0x8000, true); // entry 4 of the first lap
  // Each request takes two entries: 0, 2, 4.
  for (const expected of [0, 0, 1, 1]) {
    driver.ask(0, [bytes("abc"), 3]);
    assert.equal(guest.line(5).edges, expected);
    driver.set(0x064, 3);
  }
  driver.view.setUint16(area, 2, true); // entry 2 of the second lap
  for (const expected of [1, 2]) {
    driver.ask(0, [bytes("abc"), 3]);
    assert.equal(guest.line(5).edges, expected);
    driver.set(0x064, 3);
  }
});

Deno.test("virtqueue: what an index passes, near the end of 16 bits too", () => {
  assert.equal(passed(5, 5, 6), true);
  assert.equal(passed(5, 6, 7), false);
  assert.equal(passed(0xffff, 0xfffe, 1), true);
  assert.equal(passed(1, 0xfffe, 1), false);
});

/** What a hostile driver does to a split ring, and what the device says of it. */
const SINS: readonly [string, (d: MockDriver) => void, RegExp][] = [
  [
    "more chains than entries",
    (d) => d.view.setUint16(d.rings[0].driver + 2, 9, true),
    /9 chains .* queue of 8/,
  ],
  ["a head outside the table", (d) => {
    d.view.setUint16(d.rings[0].driver + 4, 8, true);
    d.view.setUint16(d.rings[0].driver + 2, 1, true);
  }, /descriptor 8 of a table that has 8/],
  ["a loop", (d) => {
    d.offer(0, [bytes("abc"), 3]);
    d.view.setUint16(d.rings[0].desc + 12, 1, true); // NEXT
    d.view.setUint16(d.rings[0].desc + 14, 0, true); // to itself
  }, /more than 8 descriptors/],
  ["a buffer to read behind one to write", (d) => {
    d.offer(0, [3, 3]);
    d.view.setUint16(d.rings[0].desc + 16 + 12, 0, true);
  }, /to read behind one to write/],
  ["INDIRECT with NEXT", (d) => {
    d.offer(0, [bytes("abc"), 3], { indirect: true });
    d.view.setUint16(d.rings[0].desc + 12, 4 | 1, true);
  }, /both INDIRECT and NEXT/],
  ["a table in a table", (d) => {
    d.offer(0, [bytes("abc"), 3], { indirect: true });
    const table = Number(d.view.getBigUint64(d.rings[0].desc, true));
    d.view.setUint16(table + 12, 4, true);
  }, /table in an indirect table/],
  ["a table of 17 bytes", (d) => {
    d.offer(0, [bytes("abc"), 3], { indirect: true });
    d.view.setUint32(d.rings[0].desc + 8, 17, true);
  }, /has 17 bytes/],
  ["an empty table", (d) => {
    d.offer(0, [bytes("abc"), 3], { indirect: true });
    d.view.setUint32(d.rings[0].desc + 8, 0, true);
  }, /has 0 bytes/],
  ["a buffer where no memory is", (d) => {
    d.offer(0, [bytes("abc"), 3]);
    d.view.setBigUint64(d.rings[0].desc, 0xffff_ffff_ffff_fff0n, true);
  }, /No memory/],
  ["a chain of 4 GiB", (d) => {
    d.offer(0, [3, 3]);
    d.view.setUint32(d.rings[0].desc + 8, 0xffff_ffff, true);
  }, /4 GiB/],
];

for (const [name, sin, said] of SINS) {
  Deno.test(`virtqueue: ${name} ends in NEEDS_RESET, and a reset mends it`, () => {
    const { driver, device, guest } = machine(mirror());
    const notices: string[] = [];
    Object.assign(guest, { notice: (text: string) => notices.push(text) });
    driver.start(1);
    sin(driver);
    driver.kick(0);
    assert.match(device.virtio.fault ?? "", said);
    assert.equal(driver.status & STATUS.DEVICE_NEEDS_RESET, STATUS.DEVICE_NEEDS_RESET);
    assert.deepEqual([driver.get(0x060), guest.line(5).level], [2, true]); // configuration interrupt
    driver.kick(0); // nothing more happens
    driver.start(1);
    assert.equal(text(driver.ask(0, [bytes("abc"), 3])), "cba");
    // Once, however often it does that.
    driver.start(1);
    sin(driver);
    driver.kick(0);
    assert.equal(notices.length, 1);
    assert.match(notices[0], said);
  });
}

Deno.test("virtqueue: a queue that can't be where the driver says ends in NEEDS_RESET", () => {
  for (
    const [offset, value] of [[0x080, 8], [0x090, 1], [0x0a0, 2], [0x038, 6], [0x038, 16], [
      0x038,
      0,
    ]] as const
  ) {
    const { driver, device } = machine(mirror());
    driver.start(0);
    driver.set(0x070, 0);
    driver.start(0);
    driver.set(0x030, 0);
    driver.set(0x038, 8);
    driver.set(offset, value);
    driver.set(0x044, 1);
    assert.match(device.virtio.fault ?? "", /queue/, `${offset.toString(16)}=${value}`);
  }
});

Deno.test("virtqueue: memory a hostile driver filled with anything makes no device throw or hang", () => {
  for (const [, features] of FORMATS) {
    const { driver } = machine(mirror(), features);
    fc.assert(
      fc.property(
        fc.array(fc.record({ at: fc.nat(0x3fff), value: fc.oneof(fc.nat(20), fc.nat(0xffff)) }), {
          maxLength: 40,
        }),
        (writes) => {
          driver.start(1);
          const { desc } = driver.rings[0];
          for (const { at, value } of writes) {
            driver.view.setUint16(desc + (at & 0x301e), value, true);
            driver.kick(0);
          }
          // Whatever it was, a reset mends it.
          driver.start(1);
          assert.equal(text(driver.ask(0, [bytes("abc"), 3])), "cba");
        },
      ),
      { seed: 11, numRuns: Number(Deno.env.get("HVSH_SOAK") ?? 300) },
    );
  }
});

for (const [name, features] of FORMATS) {
  Deno.test(`virtqueue, ${name}: chains that wait can be looked at, as often as one likes`, () => {
    const { driver, device } = machine({ ...mirror(), request: () => "wait" }, features);
    driver.start(1);
    driver.offer(0, [bytes("abc"), 3]);
    driver.offer(0, [bytes("defg"), 4]);
    driver.kick(0);
    const saved = JSON.stringify(device.save());
    for (const limit of [1, 9]) {
      const chains = device.virtio.waiting(0, limit);
      assert.deepEqual(
        chains?.map((c) => [c.readableBytes, c.writableBytes]),
        [[3, 3], [4, 4]].slice(0, limit),
      );
    }
    assert.equal(JSON.stringify(device.save()), saved);
    assert.equal(device.virtio.waiting(1, 9), undefined);
  });
}
