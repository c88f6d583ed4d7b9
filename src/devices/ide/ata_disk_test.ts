import assert from "node:assert/strict";
import * as a from "./ata.ts";
import { MockDriver, TestStore } from "./mock_driver.ts";

const C = a.COMMAND;

function disk(sectors = 5000, readOnly = false) {
  const store = new TestStore(sectors, readOnly);
  const driver = new MockDriver({ primary: { master: { disk: store } } });
  return { store, driver };
}

function words(bytes: Uint8Array): Uint16Array {
  return new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
}

Deno.test("disk: IDENTIFY DEVICE tells size, geometry, names and modes", () => {
  const { driver } = disk();
  driver.command(C.IDENTIFY_DEVICE);
  assert.equal(driver.alternateStatus, 0x58);
  assert.equal(driver.line.level, true);
  assert.equal(driver.status, 0x58);
  assert.equal(driver.line.level, false);
  const data = driver.pull(512);
  assert.equal(driver.status, 0x50);
  const w = words(data);
  assert.equal(w[0], 0x0040);
  assert.deepEqual([w[1], w[3], w[6]], [4, 16, 63]);
  assert.equal(w[60] | w[61] << 16, 5000);
  assert.deepEqual([...w.subarray(100, 104)], [5000, 0, 0, 0]);
  assert.equal(w[49] & 0x0300, 0x0300);
  assert.equal(w[83] & 0xc400, 0x4400);
  assert.equal(w[88], 0x203f);
  const text = (from: number, count: number) =>
    [...w.subarray(from, from + count)].map((x) => String.fromCharCode(x >> 8, x & 0xff)).join("").trimEnd();
  assert.equal(text(27, 20), "HVSH HARDDISK");
  assert.equal(text(10, 10), "HV00001");
  assert.equal(data.reduce((sum, x) => sum + x) & 0xff, 0);
  // Read by 32-bit accesses it is the same, and again with byte accesses the low halves of the words.
  driver.command(C.IDENTIFY_DEVICE);
  assert.deepEqual(driver.pull(512, 4), data);
  driver.command(C.IDENTIFY_DEVICE);
  assert.deepEqual(driver.pull(256, 1), data.filter((_, i) => i % 2 === 0));
  assert.equal(driver.status, 0x50);
  // Words that ATA-1 had, which small systems still print: bytes of a track and a sector, the buffer, DMA modes.
  driver.command(C.IDENTIFY_DEVICE);
  const old = new DataView(driver.pull(512).buffer);
  assert.deepEqual([4, 5, 20, 21, 22, 52, 62].map((word) => old.getUint16(2 * word, true)), [
    ...[63 * 512, 512, 3, 512, 4, 0x200, 7],
  ]);
});

Deno.test("disk: READ SECTORS gives a sector for each interrupt, and none after the last", () => {
  const { driver, store } = disk();
  driver.command(C.READ_SECTORS, 100, 3);
  const data: number[] = [];
  for (let i = 0; i < 3; i++) {
    assert.equal(driver.line.level, true, `sector ${i}`);
    assert.equal(driver.status, 0x58);
    assert.equal(driver.line.level, false);
    data.push(...driver.pull(512));
  }
  assert.equal(driver.line.level, false);
  assert.equal(driver.status, 0x50);
  assert.deepEqual(Uint8Array.from(data), store.sectors(100, 3));
  assert.deepEqual(driver.registers, [0, 102, 0, 0, 0xe0]);
  assert.equal(driver.guest.in(0x1f0, 2), 0); // nothing more
});

Deno.test("disk: a count of 0 is 256, and READ MULTIPLE gives blocks", () => {
  const { driver, store } = disk();
  driver.command(C.READ_SECTORS, 0, 0);
  assert.deepEqual(driver.pull(256 * 512), store.sectors(0, 256));
  assert.equal(driver.status, 0x50);
  driver.command(C.SET_MULTIPLE_MODE, 0, 4);
  assert.equal(driver.status, 0x50);
  const edges = driver.line.edges;
  driver.command(C.READ_MULTIPLE, 7, 10);
  for (const block of [4, 4, 2]) {
    assert.equal(driver.status, 0x58);
    driver.pull(block * 512);
  }
  assert.equal(driver.status, 0x50);
  assert.equal(driver.line.edges - edges, 3);
  for (const wrong of [3, 17, 32]) {
    driver.command(C.SET_MULTIPLE_MODE, 0, wrong);
    assert.equal(driver.status, 0x51);
    assert.equal(driver.error, 0x04);
  }
  driver.command(C.SET_MULTIPLE_MODE, 0, 0);
  driver.command(C.READ_MULTIPLE, 7, 10);
  assert.equal(driver.status, 0x51);
});

Deno.test("disk: WRITE SECTORS takes a sector for each interrupt; FLUSH CACHE and a disabled cache reach the store", () => {
  const { driver, store } = disk();
  const data = Uint8Array.from({ length: 300 * 512 }, (_, i) => i * 7);
  driver.command(C.WRITE_SECTORS, 200, 2);
  assert.equal(driver.line.level, false); // the first block comes without
  assert.equal(driver.status, 0x58);
  driver.push(data.subarray(0, 512));
  assert.equal(driver.line.level, true);
  assert.equal(driver.status, 0x58);
  driver.push(data.subarray(512, 1024));
  assert.equal(driver.line.level, true);
  assert.equal(driver.status, 0x50);
  assert.deepEqual(store.sectors(200, 2), data.subarray(0, 1024));
  assert.equal(store.flushes, 0);
  driver.command(C.FLUSH_CACHE);
  assert.equal(driver.status, 0x50);
  assert.equal(store.flushes, 1);
  driver.register(a.ERROR_FEATURES, a.FEATURE.WRITE_CACHE_OFF);
  driver.command(C.SET_FEATURES);
  driver.wideCommand(C.WRITE_SECTORS_EXT, 1000, 300);
  driver.push(data);
  assert.equal(driver.status, 0x50);
  assert.deepEqual(store.sectors(1000, 300), data);
  assert.equal(store.flushes, 3);
  driver.command(C.WRITE_MULTIPLE, 0, 5);
  driver.push(data.subarray(0, 5 * 512));
  assert.deepEqual(store.sectors(0, 5), data.subarray(0, 5 * 512));
});

Deno.test("disk: cylinder, head and sector; INITIALIZE DEVICE PARAMETERS changes what they mean", () => {
  const { driver, store } = disk();
  const chs = (command: number, cylinder: number, head: number, sector: number) => {
    driver.register(a.DEVICE, 0xa0 | head);
    driver.register(a.SECTOR_COUNT, 1);
    driver.register(a.LBA_LOW, sector);
    driver.register(a.LBA_MID, cylinder & 0xff);
    driver.register(a.LBA_HIGH, cylinder >> 8);
    driver.register(a.STATUS_COMMAND, command);
  };
  chs(C.READ_SECTORS, 1, 2, 3);
  assert.deepEqual(driver.pull(512), store.sectors((1 * 16 + 2) * 63 + 2, 1));
  assert.deepEqual(driver.registers, [0, 3, 1, 0, 0xa2]);
  driver.command(C.INITIALIZE_DEVICE_PARAMETERS, 0, 17, 0xa3); // 4 heads, 17 sectors
  assert.equal(driver.status, 0x50);
  chs(C.READ_SECTORS, 40, 3, 17);
  assert.deepEqual(driver.pull(512), store.sectors((40 * 4 + 3) * 17 + 16, 1));
  for (const [cylinder, head, sector] of [[0, 0, 0], [0, 4, 1], [0, 0, 18], [73, 0, 1], [0xffff, 0, 1]]) {
    chs(C.READ_SECTORS, cylinder, head, sector);
    assert.equal(driver.status, 0x51, `${cylinder}/${head}/${sector}`);
    assert.equal(driver.error, 0x10);
  }
  driver.command(C.INITIALIZE_DEVICE_PARAMETERS, 0, 0);
  assert.equal(driver.status, 0x51);
  driver.command(C.IDENTIFY_DEVICE);
  assert.deepEqual([...words(driver.pull(512)).subarray(53, 57)], [7, 73, 4, 17]);
});

Deno.test("disk: addresses past the end are refused at once, by PIO, DMA and VERIFY", () => {
  const { driver } = disk(300);
  for (
    const command of [
      C.READ_SECTORS,
      C.WRITE_SECTORS,
      C.READ_DMA,
      C.WRITE_DMA,
      C.READ_VERIFY,
      C.READ_MULTIPLE,
    ]
  ) {
    for (const [lba, count] of [[300, 1], [299, 2], [0x0fff_ffff, 1], [100, 0]]) {
      driver.command(command, lba, count);
      assert.equal(driver.status, 0x51);
      assert.equal(driver.error, 0x10);
      assert.equal(driver.alternateStatus & 0x08, 0);
    }
  }
  driver.command(C.READ_VERIFY, 44, 0);
  assert.equal(driver.status, 0x50);
  driver.wideCommand(C.READ_SECTORS_EXT, 2 ** 48 - 1, 0);
  assert.equal(driver.status, 0x51);
  driver.wideCommand(C.READ_SECTORS_EXT, 0, 1, 0); // without the LBA bit
  assert.equal(driver.error, 0x04);
});

Deno.test("disk: 48-bit registers are two deep, and the old values can be read", () => {
  const { driver, store } = disk();
  driver.wideCommand(C.READ_NATIVE_MAX_EXT, 0, 0);
  assert.deepEqual(driver.registers.slice(1, 4), [4999 & 0xff, 4999 >> 8, 0]);
  driver.wideCommand(C.READ_SECTORS_EXT, 0x1234, 0x0102);
  assert.deepEqual(driver.pull(0x102 * 512).length, 0x102 * 512);
  driver.register(a.SECTOR_COUNT, 0x11);
  driver.register(a.SECTOR_COUNT, 0x22);
  driver.control(a.CONTROL_HOB_BIT);
  assert.equal(driver.registers[0], 0x11);
  driver.register(a.LBA_LOW, 0); // ends it
  assert.equal(driver.registers[0], 0x22);
  driver.wideCommand(C.READ_SECTORS_EXT, 4999, 1);
  assert.deepEqual(driver.pull(512), store.sectors(4999, 1));
  driver.command(C.READ_NATIVE_MAX);
  assert.deepEqual(driver.registers.slice(1, 4), [4999 & 0xff, 4999 >> 8, 0]);
});

Deno.test("disk: a sector that can't be read ends the command there, after what could be", () => {
  const { driver, store } = disk();
  store.bad.set(105, "shrunk");
  driver.command(C.READ_SECTORS, 100, 20);
  assert.deepEqual(driver.pull(5 * 512), store.sectors(100, 5));
  assert.equal(driver.line.level, true);
  assert.equal(driver.status, 0x51);
  assert.equal(driver.error, 0x40);
  assert.deepEqual(driver.registers, [15, 105, 0, 0, 0xe0]);
  assert.deepEqual(driver.faults, ["disk test: sector 105 is shrunk"]);
  driver.command(C.READ_MULTIPLE, 98, 16); // a block as a whole or not at all
  assert.equal(driver.status, 0x51);
  driver.wideCommand(C.READ_VERIFY_EXT, 0, 200);
  assert.equal(driver.registers[1], 105);
  assert.equal(driver.faults.length, 1); // told once
  driver.ide.reset();
  driver.guest.out(0xcf8, 0x8000_0904, 4);
  driver.guest.out(0xcfc, 5, 2);
  driver.command(C.READ_SECTORS, 105, 1);
  assert.equal(driver.faults.length, 2);
});

Deno.test("disk: a store that is full or read-only refuses writes with an error", () => {
  const { driver, store } = disk();
  store.bad.set(12, "full");
  store.bad.set(-1, "gone");
  driver.command(C.WRITE_SECTORS, 10, 4);
  driver.push(new Uint8Array(4 * 512).fill(1));
  assert.equal(driver.status, 0x51);
  assert.equal(driver.error, 0x04);
  assert.deepEqual(driver.registers, [2, 12, 0, 0, 0xe0]);
  assert.equal(store.bytes[11 * 512], 1);
  driver.command(C.FLUSH_CACHE_EXT);
  assert.equal(driver.status, 0x51);
  assert.deepEqual(driver.faults, ["disk test: sector 12 is full", "disk test: sector -1 is gone"]);
  const fixed = disk(100, true);
  fixed.driver.command(C.WRITE_SECTORS, 10, 4);
  assert.equal(fixed.driver.status, 0x51);
  assert.equal(fixed.driver.error, 0x44);
  assert.deepEqual(fixed.driver.faults, ["disk test: read-only"]);
});

Deno.test("disk: power modes, features, seeks and what is not known", () => {
  const { driver } = disk();
  const run = (command: number, count = 0, features = 0) => {
    driver.register(a.ERROR_FEATURES, features);
    driver.command(command, 0, count);
    return driver.status;
  };
  for (const command of [0x10, 0x1f, 0x70, 0xe0, 0xe1, 0xe2, 0xe3, 0x94, 0x97]) {
    assert.equal(run(command), 0x50);
  }
  run(C.STANDBY_IMMEDIATE);
  run(C.CHECK_POWER_MODE, 0x55);
  assert.equal(driver.registers[0], 0);
  run(C.READ_VERIFY, 1);
  run(C.CHECK_POWER_MODE);
  assert.equal(driver.registers[0], 0xff);
  for (const mode of [0x00, 0x01, 0x0c, 0x22, 0x45]) assert.equal(run(C.SET_FEATURES, mode, 0x03), 0x50);
  for (const mode of [0x02, 0x0d, 0x23, 0x46, 0x80]) assert.equal(run(C.SET_FEATURES, mode, 0x03), 0x51);
  run(C.SET_FEATURES, 0x21, 0x03);
  driver.command(C.IDENTIFY_DEVICE);
  const w = words(driver.pull(512));
  assert.deepEqual([w[63], w[88]], [0x0207, 0x003f]);
  for (const command of [0x00, 0x08, 0x22, 0xa0, 0xa1, 0xb0, 0xf9, 0xff]) {
    assert.equal(run(command), 0x51, command.toString(16));
    assert.equal(driver.error, 0x04);
  }
  assert.match(String(driver.ide.inspect()["primary.master.command"]), /0xff/);
});
