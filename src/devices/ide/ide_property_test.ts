import assert from "node:assert/strict";
import fc from "fast-check";
import { anySequence, carry, refusesForeign, runs } from "../device_contract.ts";
import { COMMAND, CONTROL_SRST_BIT } from "./ata.ts";
import { BUS_MASTER, MockDriver, TestStore } from "./mock_driver.ts";
import { OPERATION } from "./scsi.ts";

const SECTORS = 300;
const MEMORY = 0x20000;

/** Drives of every kind; some sectors fail. */
function machine() {
  const stores = [new TestStore(SECTORS), new TestStore(64), new TestStore(128, true)];
  stores[0].bad.set(77, "full");
  stores[1].bad.set(30, "unreadable");
  const driver = new MockDriver(
    {
      primary: { master: { disk: stores[0] }, slave: { cdrom: stores[1] } },
      secondary: { slave: { disk: stores[2] } },
    },
    0,
    MEMORY,
  );
  return { driver, stores, guest: driver.guest, device: driver.ide };
}

/** What must hold whatever the guest did: lines follow the state, nothing grew, fixed contents are as they were. */
function holds({ stores, guest }: ReturnType<typeof machine>): void {
  assert.equal(guest.memory.length, MEMORY);
  assert.deepEqual(stores.map((s) => s.bytes.length / 512), [SECTORS, 64, 128]);
}

Deno.test("ide: any access in any order", () => {
  anySequence(machine, { seed: 51, runs: 60 });
});

Deno.test("ide: a foreign or damaged record is refused and changes nothing", () => {
  const { device, driver } = machine();
  driver.command(COMMAND.READ_SECTORS, 3, 2);
  refusesForeign(device);
  const saved = JSON.parse(JSON.stringify(device.save()));
  const spoil = (change: (copy: typeof saved) => void) => {
    const copy = structuredClone(saved);
    change(copy);
    assert.throws(() => device.restore(copy), { name: "InputError" });
    assert.deepEqual(JSON.parse(JSON.stringify(device.save())), saved);
  };
  spoil((s) => s.channels[0].drives[0].registers.at = 70_000);
  spoil((s) => s.channels[0].drives[0].registers.end = s.channels[0].drives[0].registers.at);
  spoil((s) => s.channels[0].drives[0].disk.lba = SECTORS + 1);
  spoil((s) => s.channels[0].drives[0].disk.block = 0);
  spoil((s) => s.channels[0].drives[0].total = 5);
  spoil((s) => s.channels[0].drives[0].data = "*");
  spoil((s) => s.channels[0].drives[0] = null);
  spoil((s) => s.channels[1].drives[0] = s.channels[1].drives[1]);
  spoil((s) => s.channels[0].drives[1].blocks = 1);
  spoil((s) => s.channels[0].drives[1].registers.phase = "dma-out");
  spoil((s) => s.engines[1].left = 0x10001);
  spoil((s) => s.engines.pop());
});

/** Commands that make sense, in the middle of others, with tables that do not. */
type Step =
  | { kind: "command"; code: number; lba: number; count: number; device: number; features: number }
  | { kind: "packet"; bytes: readonly number[]; limit: number; dma: boolean; send: number }
  | { kind: "table"; at: number; regions: readonly (readonly [number, number])[]; end: boolean }
  | { kind: "engine"; value: number }
  | { kind: "pull" | "push"; bytes: number; width: 1 | 2 | 4; string: boolean }
  | { kind: "select"; device: number }
  | { kind: "control"; value: number }
  | { kind: "status" | "reset" | "carry" };

const address = fc.oneof(
  fc.nat(SECTORS + 2),
  fc.constantFrom(0, 76, 77, SECTORS - 1, SECTORS, 0x0fff_ffff, 2 ** 28, 2 ** 48 - 1),
);
const place = fc.oneof(
  fc.nat(MEMORY + 16),
  fc.constantFrom(0, MEMORY - 2, MEMORY - 512, MEMORY, 0x7fff_fffe, 0xffff_fffe, 0xffff_fc00),
);
const length = fc.oneof(fc.nat(0xffff), fc.constantFrom(0, 1, 2, 510, 512, 2048, 0xfffe));
const device = fc.constantFrom(0x40, 0x50, 0x00, 0x10, 0xa3, 0xf7);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("command" as const),
      code: fc.oneof(fc.constantFrom(...Object.values(COMMAND)), fc.nat(255)),
      lba: address,
      count: fc.oneof(fc.nat(8), fc.constantFrom(0, 1, 16, 255, 256, 0xffff)),
      device,
      features: fc.oneof(fc.nat(3), fc.nat(255)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("packet" as const),
      bytes: fc.tuple(
        fc.oneof(fc.constantFrom(...Object.values(OPERATION)), fc.nat(255)),
        fc.array(fc.oneof(fc.constant(0), fc.nat(8), fc.nat(255)), { minLength: 11, maxLength: 11 }),
      ).map(([code, rest]) => [code, ...rest]),
      limit: fc.oneof(fc.constantFrom(0, 1, 2, 3, 2048, 0xfffe, 0xffff), fc.nat(0xffff)),
      dma: fc.boolean(),
      send: fc.constantFrom(12, 12, 12, 11, 1),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("table" as const),
      at: fc.oneof(place, fc.constantFrom(0x1000, 0xfff8, 0x1fffc)),
      regions: fc.array(fc.tuple(place, length), { minLength: 1, maxLength: 5 }),
      end: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("engine" as const), value: fc.constantFrom(0, 1, 8, 9, 0xff) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom("pull" as const, "push" as const),
      bytes: fc.oneof(fc.nat(40), fc.constantFrom(510, 512, 514, 2048, 65536)),
      width: fc.constantFrom(1 as const, 2 as const, 4 as const),
      string: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("select" as const), device }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("control" as const),
      value: fc.constantFrom(0, 2, CONTROL_SRST_BIT, 0x80, 0xff),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("status" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("reset" as const, "carry" as const) }) },
);

function perform(subject: ReturnType<typeof machine>, s: Step): void {
  const { driver, guest } = subject;
  switch (s.kind) {
    case "command":
      driver.register(1, s.features);
      return s.lba >= 2 ** 28 || s.count > 255
        ? driver.wideCommand(s.code, s.lba, s.count, s.device)
        : driver.command(s.code, s.lba, s.count, s.device);
    case "packet":
      driver.register(6, 0x10);
      driver.register(1, s.dma ? 1 : 0);
      driver.register(4, s.limit & 0xff);
      driver.register(5, s.limit >> 8);
      driver.register(7, COMMAND.PACKET);
      return driver.push(Uint8Array.from(s.bytes.slice(0, s.send)));
    case "table": {
      if (s.at + 8 * s.regions.length <= MEMORY) return driver.table(s.at, s.regions, s.end);
      return guest.out(BUS_MASTER + 4, s.at, 4);
    }
    case "engine":
      return guest.out(BUS_MASTER, s.value);
    case "pull":
    case "push": {
      if (!s.string) {
        for (let i = 0; i < Math.min(s.bytes, 512); i += s.width) {
          if (s.kind === "pull") guest.in(0x1f0, s.width);
          else guest.out(0x1f0, i * 0x01010101 >>> 0, s.width);
        }
        return;
      }
      const range = driver.ide.ports.find((r) => r.start === 0x1f0);
      const data = new Uint8Array(s.bytes - s.bytes % s.width);
      if (range === undefined || data.length === 0) return;
      return s.kind === "pull"
        ? driver.ide.readString(0, data, s.width, range)
        : driver.ide.writeString(0, data, s.width, range);
    }
    case "select":
      return driver.register(6, s.device);
    case "control":
      return driver.control(s.value);
    case "status":
      return void driver.status;
    case "reset":
      driver.ide.reset();
      return;
    case "carry":
      return carry(driver.ide, driver.ide);
  }
}

Deno.test("ide: commands in the middle of commands, hostile tables, resets at any time", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const subject = machine();
      for (const s of steps) {
        perform(subject, s);
        holds(subject);
        const { interrupt } = subject.driver.ide.channels[0].selected ?? { interrupt: false };
        if (subject.driver.line.level) assert.equal(interrupt, true);
      }
      const other = machine();
      carry(subject.device, other.device);
      // A reset brings it back to work, whatever was before.
      subject.device.reset();
      subject.guest.out(0xcf8, 0x8000_0904, 4);
      subject.guest.out(0xcfc, 5, 2);
      subject.driver.command(COMMAND.READ_SECTORS, 2, 1);
      assert.deepEqual(subject.driver.pull(512), subject.stores[0].sectors(2, 1));
    }),
    { seed: 52, numRuns: runs(150) },
  );
});

Deno.test("ide: a transfer goes on in another machine as if nothing had happened", () => {
  const commands = [
    COMMAND.READ_SECTORS,
    COMMAND.READ_MULTIPLE,
    COMMAND.WRITE_SECTORS,
    COMMAND.WRITE_MULTIPLE,
  ];
  fc.assert(
    fc.property(
      fc.constantFrom(...commands),
      fc.nat(SECTORS - 200),
      fc.integer({ min: 1, max: 40 }),
      fc.nat(),
      (command, lba, count, cut) => {
        const subjects = [machine(), machine()];
        for (const { stores } of subjects) stores[0].bad.clear();
        subjects[0].driver.command(command, lba, count);
        const bytes = count * 512;
        const at = cut % bytes & ~1;
        const data = Uint8Array.from({ length: bytes }, (_, i) => i * 31 >> 3);
        const writing = command === COMMAND.WRITE_SECTORS || command === COMMAND.WRITE_MULTIPLE;
        if (!writing) {
          const got = [...subjects[0].driver.pull(at)];
          carry(subjects[0].device, subjects[1].device);
          got.push(...subjects[1].driver.pull(bytes - at));
          assert.deepEqual(Uint8Array.from(got), subjects[0].stores[0].sectors(lba, count));
        } else {
          subjects[0].driver.push(data.subarray(0, at));
          carry(subjects[0].device, subjects[1].device);
          subjects[1].stores[0].bytes.set(subjects[0].stores[0].bytes);
          subjects[1].driver.push(data.subarray(at));
          assert.deepEqual(subjects[1].stores[0].sectors(lba, count), data);
        }
        assert.equal(subjects[1].driver.status, 0x50);
      },
    ),
    { seed: 53, numRuns: runs(40) },
  );
});
