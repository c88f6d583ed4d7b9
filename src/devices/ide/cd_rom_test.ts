import assert from "node:assert/strict";
import * as a from "./ata.ts";
import { CdRom } from "./cd_rom.ts";
import { MockDriver, TestStore } from "./mock_driver.ts";
import { OPERATION } from "./scsi.ts";

const C = a.COMMAND;
const O = OPERATION;
const BLOCKS = 200;
const DVD_BLOCKS = 400_000;

function cd(medium: TestStore | "empty" = new TestStore(BLOCKS * 4)) {
  const driver = new MockDriver({ secondary: { master: { cdrom: medium } } }, 1);
  const drive = driver.ide.channels[1].drives[0];
  assert.ok(drive instanceof CdRom);
  /** Sense key, code and qualifier. */
  const sense = () => {
    driver.packet([O.REQUEST_SENSE, 0, 0, 0, 18]);
    const { data } = driver.answer();
    return [data[2], data[12], data[13]];
  };
  return { driver, drive, sense, store: medium as TestStore };
}

/** A medium of the size of a DVD, of which nobody reads a block. */
class Dvd extends TestStore {
  override get size(): number {
    return DVD_BLOCKS * 2048;
  }
}

function read10(lba: number, blocks: number): number[] {
  return [
    O.READ_10,
    0,
    lba >>> 24,
    lba >> 16 & 0xff,
    lba >> 8 & 0xff,
    lba & 0xff,
    0,
    blocks >> 8,
    blocks & 0xff,
  ];
}

Deno.test("cd: a packet device identifies itself and refuses what disks do", () => {
  const { driver } = cd();
  assert.deepEqual([driver.status, ...driver.registers], [0, 1, 1, 0x14, 0xeb, 0xa0]);
  driver.command(C.IDENTIFY_DEVICE, 0, 0, 0);
  assert.equal(driver.status, 0x51);
  assert.deepEqual(driver.registers.slice(2, 4), [0x14, 0xeb]);
  driver.command(C.IDENTIFY_PACKET_DEVICE, 0, 0, 0);
  assert.equal(driver.status, 0x58);
  const data = driver.pull(512);
  assert.deepEqual([data[0], data[1]], [0xc0, 0x85]);
  assert.equal(new TextDecoder().decode(data.slice(54, 66)), "VHHSD DVR-MO".replace("DVR", "DVR"));
  assert.equal(driver.status, 0x50);
  assert.deepEqual([...driver.pull(4)], [0, 0, 0, 0], "the data register is empty");
  driver.command(C.DEVICE_RESET, 0, 0, 0);
  assert.equal(driver.status, 0);
  for (const [feature, status] of [[0x02, 0x50], [0x66, 0x50], [0x00, 0x51], [0x11, 0x51]]) {
    driver.register(a.ERROR_FEATURES, feature);
    driver.command(C.SET_FEATURES, 0, 0, 0);
    assert.equal(driver.status, status, `SET FEATURES 0x${feature.toString(16)}`);
  }
});

Deno.test("cd: READ gives blocks in parts that the host has room for", () => {
  const { driver, store } = cd();
  for (
    const [limit, parts] of [[2048, [2048, 2048, 2048]], [0xfffe, [6144]], [5000, [4096, 2048]], [0, [
      6144,
    ]]] as const
  ) {
    driver.packet(read10(10, 3), limit);
    assert.equal(driver.line.level, true);
    const { data, parts: got } = driver.answer();
    assert.deepEqual(got, [...parts]);
    assert.deepEqual(data, store.sectors(40, 12));
    assert.equal(driver.line.level, false);
    assert.deepEqual([driver.status, driver.registers[0]], [0x50, 3]);
  }
  driver.packet([O.READ_12, 0, 0, 0, 0, 0, 0, 0, 0, 100], 10_000);
  assert.deepEqual(driver.answer().data, store.sectors(0, 400));
  driver.packet(read10(10, 1), 1000);
  assert.deepEqual(driver.answer().parts, [1000, 1000, 48]);
  driver.packet(read10(10, 0));
  assert.equal(driver.status, 0x50);
});

Deno.test("cd: READ by DMA", () => {
  const { driver, store } = cd();
  driver.table(0x1000, [[0x8000, 0x10000], [0x18000, 60 * 2048 - 0x10000]]);
  driver.packet(read10(100, 60), 0, true);
  assert.equal(driver.line.level, false);
  driver.start(true);
  assert.equal(driver.line.level, true);
  assert.equal(driver.stop(), 4);
  assert.deepEqual([driver.status, driver.registers[0]], [0x50, 3]);
  assert.deepEqual(driver.guest.memory.slice(0x8000, 0x8000 + 60 * 2048), store.sectors(400, 240));
  driver.table(0x1000, [[0x3ff00, 2048]]);
  driver.packet(read10(0, 1), 0, true);
  driver.start(true);
  assert.equal(driver.stop(), 6);
  assert.equal(driver.status, 0x51);
});

Deno.test("cd: what can't be read has a sense key in the error register and the rest for REQUEST SENSE", () => {
  const { driver, store, sense } = cd();
  driver.packet(read10(BLOCKS - 1, 2));
  assert.deepEqual([driver.status, driver.error, driver.registers[0]], [0x51, 0x54, 3]);
  assert.deepEqual(sense(), [5, 0x21, 0]);
  assert.deepEqual(sense(), [0, 0, 0]);
  store.bad.set(50, "gone");
  driver.packet(read10(10, 10), 2048);
  const { data } = driver.answer();
  assert.deepEqual(data, store.sectors(40, 8));
  assert.deepEqual([driver.status, driver.error], [0x51, 0x34]);
  assert.deepEqual(sense(), [3, 0x11, 0]);
  assert.deepEqual(driver.faults, ["cdrom test: sector 50 is gone"]);
  driver.packet([0xff]);
  assert.deepEqual(sense(), [5, 0x20, 0]);
});

Deno.test("cd: capacity, table of contents, inquiry, configuration, mode pages", () => {
  const { driver } = cd();
  const ask = (packet: readonly number[]) => {
    driver.packet(packet);
    return [...driver.answer().data];
  };
  assert.deepEqual(ask([O.READ_CAPACITY]), [0, 0, 0, BLOCKS - 1, 0, 0, 8, 0]);
  const toc = ask([O.READ_TOC, 0, 0, 0, 0, 0, 0, 0, 100]);
  assert.deepEqual(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 0, 0, BLOCKS]);
  assert.deepEqual(ask([O.READ_TOC, 2, 0, 0, 0, 0, 0xaa, 0, 100]), [
    0,
    10,
    1,
    1,
    0,
    0x14,
    0xaa,
    0,
    0,
    0,
    4,
    50,
  ]);
  assert.equal(ask([O.READ_TOC, 2, 2, 0, 0, 0, 0, 0, 100]).length, 4 + 4 * 11);
  assert.deepEqual(ask([O.READ_TOC, 0, 0, 0, 0, 0, 0, 0, 4]), [0, 18, 1, 1]);
  const inquiry = ask([O.INQUIRY, 0, 0, 0, 36]);
  assert.equal(inquiry.length, 36);
  assert.deepEqual(inquiry.slice(0, 2), [5, 0x80]);
  assert.equal(new TextDecoder().decode(Uint8Array.from(inquiry.slice(8))), "HVSH    DVD-ROM         1.0 ");
  const configuration = ask([O.GET_CONFIGURATION, 0, 0, 0, 0, 0, 0, 1, 0]);
  assert.equal(configuration[3], configuration.length - 4);
  assert.deepEqual(configuration.slice(6, 8), [0, 8]);
  assert.deepEqual(ask([O.GET_CONFIGURATION, 2, 0, 0x10, 0, 0, 0, 1, 0]).slice(8, 11), [0, 0x10, 1]);
  const mode = ask([O.MODE_SENSE_10, 0, 0x2a, 0, 0, 0, 0, 0, 100]);
  assert.deepEqual([mode[1], mode[2], mode[8], mode[9]], [mode.length - 2, 1, 0x2a, mode.length - 10]);
  assert.deepEqual(ask([O.GET_EVENT_STATUS_NOTIFICATION, 1, 0, 0, 0x10, 0, 0, 0, 8]), [
    0,
    6,
    4,
    0x10,
    0,
    2,
    0,
    0,
  ]);
  assert.equal(ask([O.READ_DISC_INFORMATION, 0, 0, 0, 0, 0, 0, 0, 34]).length, 34);
  assert.equal(ask([O.MECHANISM_STATUS, 0, 0, 0, 0, 0, 0, 0, 0, 8]).length, 8);
});

Deno.test("cd: READ CD gives data or whole sectors", () => {
  const { driver, store } = cd();
  driver.packet([O.READ_CD, 0, 0, 0, 0, 10, 0, 0, 2, 0x10]);
  assert.deepEqual(driver.answer().data, store.sectors(40, 8));
  driver.packet([O.READ_CD, 0, 0, 0, 0, 10, 0, 0, 40, 0xf8]);
  const { data } = driver.answer();
  assert.equal(data.length, 40 * 2352);
  for (const i of [0, 39]) {
    const sector = data.subarray(i * 2352, (i + 1) * 2352);
    assert.deepEqual([...sector.subarray(0, 12)], [0, ...new Array(10).fill(0xff), 0]);
    assert.deepEqual([...sector.subarray(12, 16)], i === 0 ? [0, 2, 0x10, 1] : [0, 2, 0x49, 1]);
    assert.deepEqual(sector.slice(16, 2064), store.sectors(40 + 4 * i, 4));
  }
});

Deno.test("cd: an empty drive, a medium that comes and goes, and a locked tray", () => {
  const { driver, drive, sense } = cd("empty");
  const ready = () => {
    driver.packet([O.TEST_UNIT_READY]);
    return driver.status === 0x50 ? [] : sense();
  };
  assert.deepEqual(ready(), [2, 0x3a, 1]);
  assert.equal(drive.insert(new TestStore(400)), true);
  assert.deepEqual(ready(), [6, 0x28, 0]);
  assert.deepEqual(ready(), []);
  driver.packet([O.PREVENT_ALLOW_MEDIUM_REMOVAL, 0, 0, 0, 1]);
  assert.equal(drive.insert(undefined), false);
  driver.packet([O.GET_EVENT_STATUS_NOTIFICATION, 1, 0, 0, 0x10, 0, 0, 0, 8]);
  assert.equal(driver.answer().data[4], 1); // eject request
  driver.packet([O.START_STOP_UNIT, 0, 0, 0, 2]);
  assert.deepEqual([driver.status, ...sense()], [0x51, 5, 0x53, 2]);
  driver.packet([O.PREVENT_ALLOW_MEDIUM_REMOVAL]);
  driver.packet([O.START_STOP_UNIT, 0, 0, 0, 2]);
  assert.equal(driver.status, 0x50);
  assert.deepEqual(ready(), [2, 0x3a, 2]);
  driver.packet([O.START_STOP_UNIT, 0, 0, 0, 3]);
  assert.deepEqual(ready(), [6, 0x28, 0]);
  assert.deepEqual(ready(), []);
  // Taken out in the middle of a transfer: what was buffered arrives, then it fails.
  driver.packet(read10(0, 90), 2048);
  assert.equal(drive.insert(undefined, true), true);
  assert.equal(driver.answer().data.length, 32 * 2048);
  assert.equal(driver.status, 0x51);
  assert.deepEqual(ready(), [2, 0x3a, 1]);
});

Deno.test("cd: vital product data name the drive, and other pages are refused", () => {
  const { driver, sense } = cd();
  const ask = (page: number, room = 255) => {
    driver.packet([O.INQUIRY, 1, page, 0, room]);
    return driver.answer().data;
  };
  assert.deepEqual([...ask(0x00)], [5, 0, 0, 3, 0x00, 0x80, 0x83]);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const serial = ask(0x80);
  assert.deepEqual([serial.length, serial[3]], [24, 20]);
  const names = ask(0x83);
  assert.deepEqual([names.length, names[3]], [100, 96]);
  assert.equal(text(names.slice(8, 28)), text(serial.slice(4)));
  assert.deepEqual([...names.slice(28, 32)], [2, 1, 0, 68]);
  assert.equal(text(names.slice(32, 80)).trimEnd(), "ATA     HVSH DVD-ROM");
  assert.equal(ask(0x83, 10).length, 10, "cut to the room there is");
  driver.packet([O.INQUIRY, 1, 0x42, 0, 255]);
  driver.answer();
  assert.deepEqual(sense(), [5, 0x24, 0]);
});

Deno.test("cd: a DVD's structures can be read, a CD's and those that are not there are refused", () => {
  const { driver, sense } = cd(new Dvd(4));
  driver.packet([O.TEST_UNIT_READY]);
  const ask = (format: number, layer = 0, room = 4096) => {
    driver.packet([O.READ_DVD_STRUCTURE, 0, 0, 0, 0, 0, layer, format, room >> 8, room & 0xff]);
    return driver.answer().data;
  };
  const physical = ask(0x00);
  assert.equal(physical.length, 2052);
  const view = new DataView(physical.buffer, physical.byteOffset);
  assert.deepEqual([view.getUint16(0), view.getUint32(8)], [2050, 0x30000]);
  assert.equal(view.getUint32(12) - view.getUint32(8) + 1, DVD_BLOCKS);
  assert.deepEqual([...ask(0x01)], [0, 6, 0, 0, 0, 0, 0, 0]);
  assert.equal(ask(0x04, 0, 12).length, 12);
  assert.deepEqual([...ask(0xff)].filter((_, i) => i >= 4 && i % 4 === 0), [0, 1, 4]);
  for (const [format, layer] of [[0x00, 1], [0x03, 0]]) {
    ask(format, layer);
    assert.deepEqual(sense(), [5, 0x24, 0]);
  }
  const small = cd();
  small.driver.packet([O.READ_DVD_STRUCTURE, 0, 0, 0, 0, 0, 0, 0, 8, 4]);
  small.driver.answer();
  assert.deepEqual(small.sense(), [5, 0x30, 0]);
});
