import assert from "node:assert/strict";
import * as a from "./ata.ts";
import { BUS_MASTER, MockDriver, TestStore } from "./mock_driver.ts";

const C = a.COMMAND;
const ACTIVE = 1, ERROR = 2, INTERRUPT = 4;

function disk(sectors = 1000) {
  const store = new TestStore(sectors);
  const driver = new MockDriver({ primary: { master: { disk: store } } });
  return { store, driver, memory: driver.guest.memory };
}

Deno.test("bus master: reads a disk into regions of memory, whichever of drive and engine is started first", () => {
  for (const engineFirst of [false, true]) {
    const { store, driver, memory } = disk();
    driver.table(0x1000, [[0x2000, 700], [0x8002, 2], [0x9000, 3 * 512 - 702]]);
    if (engineFirst) driver.start(true);
    driver.command(C.READ_DMA, 20, 3);
    if (!engineFirst) {
      assert.equal(driver.alternateStatus, 0x58);
      driver.start(true);
    }
    assert.equal(driver.line.level, true);
    assert.equal(driver.stop(), INTERRUPT);
    assert.equal(driver.status, 0x50);
    const want = store.sectors(20, 3);
    assert.deepEqual(memory.slice(0x2000, 0x2000 + 700), want.slice(0, 700));
    assert.deepEqual(memory.slice(0x8002, 0x8004), want.slice(700, 702));
    assert.deepEqual(memory.slice(0x9000, 0x9000 + 834), want.slice(702));
    assert.deepEqual([memory[0x2000 + 700], memory[0x9000 + 834]], [0, 0]);
  }
});

Deno.test("bus master: writes a disk from memory, larger than the drive's buffer", () => {
  const { store, driver, memory } = disk();
  for (let i = 0x2000; i < 0x2c000; i++) memory[i] = i * 13 >> 4;
  driver.wideCommand(C.WRITE_DMA_EXT, 100, 300);
  driver.table(0x1000, [[0x2000, 0], [0x12000, 0x10000], [0x22000, 300 * 512 - 0x20000]]);
  driver.start(false);
  assert.equal(driver.stop(), INTERRUPT);
  assert.equal(driver.status, 0x50);
  assert.deepEqual(store.sectors(100, 300), memory.slice(0x2000, 0x2000 + 300 * 512));
  assert.equal(store.flushes, 0);
  driver.wideCommand(C.WRITE_DMA_FUA_EXT, 100, 1);
  driver.start(false);
  assert.equal(store.flushes, 1);
});

Deno.test("bus master: a longer table stays active, a shorter one stops, and another goes on", () => {
  const { store, driver, memory } = disk();
  driver.command(C.READ_DMA, 0, 1);
  driver.table(0x1000, [[0x2000, 1024]]);
  driver.start(true);
  assert.equal(driver.stop(), ACTIVE | INTERRUPT);
  assert.equal(driver.status, 0x50);
  driver.command(C.READ_DMA, 5, 2);
  driver.table(0x1000, [[0x2000, 600]]);
  driver.start(true);
  assert.equal(driver.stop(), 0);
  assert.equal(driver.line.level, false);
  assert.equal(driver.status, 0x58);
  driver.table(0x1000, [[0x2000 + 600, 424]]);
  driver.start(true);
  assert.equal(driver.stop(), INTERRUPT);
  assert.deepEqual(memory.slice(0x2000, 0x2400), store.sectors(5, 2));
});

Deno.test("bus master: memory that is not there ends the command with errors on both sides", () => {
  for (
    const [table, region] of [[0x1000, 0x3ff00], [0x1000, 0xffff_fffe], [0x8000_0000, 0], [0xffff_fffc, 0]]
  ) {
    for (const command of [C.READ_DMA, C.WRITE_DMA]) {
      const { driver } = disk();
      if (table === 0x1000) driver.table(0x1000, [[region, 1024]]);
      else driver.guest.out(BUS_MASTER + 4, table, 4);
      driver.command(command, 0, 2);
      driver.start(command === C.READ_DMA);
      assert.equal(driver.stop(), ERROR | INTERRUPT);
      assert.equal(driver.status, 0x51);
      assert.equal(driver.error, 0x04);
      driver.command(C.READ_SECTORS, 0, 1);
      assert.equal(driver.pull(512).length, 512);
    }
  }
});

Deno.test("bus master: a table without end stops after 64 KiB of descriptors, which may cross 64 KiB", () => {
  const { store, driver } = disk();
  const view = new DataView(driver.guest.memory.buffer);
  for (let at = 0x1fff8; at < 0x2fff8; at += 8) {
    view.setUint32(at, 0x30000, true);
    view.setUint32(at + 4, 2, true);
  }
  driver.guest.out(BUS_MASTER + 4, 0x1fff8, 4);
  driver.wideCommand(C.READ_DMA_EXT, 0, 900);
  driver.start(true);
  assert.equal(driver.stop(), ERROR);
  assert.equal(driver.alternateStatus, 0x58);
  assert.deepEqual(driver.guest.memory.slice(0x30000, 0x30002), store.bytes.slice(0x3ffe, 0x4000));
});

Deno.test("bus master: registers in any width; nothing moves without the bus master bit", () => {
  const { store, driver, memory } = disk();
  const { guest } = driver;
  guest.out(BUS_MASTER + 4, 0x1237, 2);
  guest.out(BUS_MASTER + 6, 0xab, 1);
  assert.equal(guest.in(BUS_MASTER + 4, 4), 0x00ab1234);
  guest.out(BUS_MASTER + 2, 0xff, 1);
  assert.equal(guest.in(BUS_MASTER, 4), 0x0060_0000);
  guest.out(0xcf8, 0x8000_0904, 4);
  guest.out(0xcfc, 1, 2);
  driver.command(C.READ_DMA, 3, 1);
  driver.table(0x1000, [[0x2000, 512]]);
  driver.start(true);
  assert.equal(memory[0x2001], 0);
  guest.out(0xcfc, 5, 2);
  assert.equal(driver.stop(), INTERRUPT);
  assert.deepEqual(memory.slice(0x2000, 0x2200), store.sectors(3, 1));
});

Deno.test("bus master: a sector that fails by DMA is told with its address", () => {
  const { store, driver, memory } = disk();
  store.bad.set(60, "unreadable");
  driver.command(C.READ_DMA, 50, 20);
  driver.table(0x1000, [[0x2000, 20 * 512]]);
  driver.start(true);
  assert.equal(driver.stop(), ACTIVE | INTERRUPT);
  assert.equal(driver.status, 0x51);
  assert.equal(driver.error, 0x40);
  assert.deepEqual(driver.registers, [10, 60, 0, 0, 0xe0]);
  assert.deepEqual(memory.slice(0x2000, 0x2000 + 5120), store.sectors(50, 10));
});

Deno.test("PIIX3 IDE: identity, ports as the command and timing registers have them", () => {
  const driver = new MockDriver({ primary: { master: { disk: new TestStore(8) } }, configured: false });
  const { guest } = driver;
  const config = (register: number, value?: number) => {
    guest.out(0xcf8, 0x8000_0900 | register, 4);
    if (value !== undefined) guest.out(0xcfc, value, 4);
    return guest.in(0xcfc, 4);
  };
  assert.equal(config(0x00), 0x7010_8086);
  assert.equal(config(0x08), 0x0101_8000);
  assert.equal(guest.decodes(0x1f0), false);
  config(0x04, 1);
  assert.deepEqual([0x1ef, 0x1f0, 0x1f7, 0x3f5, 0x3f6, 0x3f7, 0x170, 0x376].map((p) => guest.decodes(p)), [
    false,
    true,
    true,
    false,
    true,
    false,
    true,
    true,
  ]);
  config(0x40, 0x0000_8000);
  assert.deepEqual([0x1f0, 0x170].map((p) => guest.decodes(p)), [true, false]);
  assert.equal(config(0x20, 0xffff_ffff) >>> 0, 0xffff_fff1);
  config(0x20, 0xc041);
  assert.deepEqual([0xc03f, 0xc040, 0xc04f, 0xc050].map((p) => guest.decodes(p)), [false, true, true, false]);
  driver.ide.reset();
  assert.equal(guest.decodes(0x1f0), false);
});
