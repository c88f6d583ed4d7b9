/** Real files that go wrong under a guest's disk: the guest gets an ATA error, the user a message. */

import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type DiskOptions, openDisk } from "../src/backing/open_disk.ts";
import { COMMAND } from "../src/devices/ide/ata.ts";
import { MockDriver } from "../src/devices/ide/mock_driver.ts";

const SECTORS = 64;
const SECTOR = new Uint8Array(512).fill(0x5a);

/** A file of 64 sectors as the primary master, and what goes wrong with it. */
async function withDisk(
  use: (driver: MockDriver, path: string) => void,
  options: DiskOptions = {},
): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/disk.img`;
    Deno.writeFileSync(path, new Uint8Array(SECTORS * 512).fill(7));
    using disk = openDisk(path, options);
    use(new MockDriver({ primary: { master: { disk } } }), path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function read(driver: MockDriver, lba: number): number {
  driver.command(COMMAND.READ_SECTORS, lba, 1);
  if (driver.alternateStatus & 0x08) driver.pull(512);
  return driver.status;
}

function write(driver: MockDriver, lba: number): number {
  driver.command(COMMAND.WRITE_SECTORS, lba, 1);
  if (driver.alternateStatus & 0x08) driver.push(SECTOR);
  return driver.status;
}

Deno.test("disk file: all is well as long as nothing happens", () =>
  withDisk((driver, path) => {
    assert.equal(read(driver, SECTORS - 1), 0x50);
    assert.equal(write(driver, 3), 0x50);
    driver.command(COMMAND.FLUSH_CACHE);
    assert.equal(driver.status, 0x50);
    assert.deepEqual(Deno.readFileSync(path).subarray(3 * 512, 4 * 512), SECTOR);
    assert.deepEqual(driver.faults, []);
  }));

Deno.test("disk file: one that vanishes", () =>
  withDisk((driver, path) => {
    Deno.removeSync(path);
    assert.deepEqual([read(driver, 0), driver.error], [0x51, 0x40]);
    assert.deepEqual([write(driver, 0), driver.error], [0x51, 0x04]);
    driver.command(COMMAND.FLUSH_CACHE);
    assert.equal(driver.status, 0x51);
    assert.equal(driver.faults.length, 1);
    assert.match(driver.faults[0], /disk.img was removed or replaced/);
  }));

Deno.test("disk file: one that shrinks, read by PIO and by DMA", () =>
  withDisk((driver, path) => {
    Deno.truncateSync(path, 10 * 512);
    assert.equal(read(driver, 9), 0x50);
    assert.deepEqual([read(driver, 10), driver.error], [0x51, 0x40]);
    assert.equal(write(driver, 10), 0x51);
    driver.command(COMMAND.READ_DMA, 8, 8);
    driver.table(0x1000, [[0x2000, 8 * 512]]);
    driver.start(true);
    driver.stop();
    assert.equal(driver.status, 0x51);
    assert.deepEqual(driver.registers.slice(0, 2), [6, 10]);
    assert.deepEqual(driver.faults.map((f) => /now ends at 5120/.test(f)), [true]);
    assert.equal(Deno.statSync(path).size, 10 * 512);
  }));

Deno.test("disk file: one that is read-only", () =>
  withDisk((driver) => {
    assert.equal(read(driver, 0), 0x50);
    assert.deepEqual([write(driver, 0), driver.error], [0x51, 0x44]);
    assert.match(driver.faults[0], /opened for reading only/);
  }, { mode: "read-only" }));

Deno.test("disk file: changes that fill what they may have", () =>
  withDisk((driver) => {
    assert.equal(write(driver, 0), 0x50);
    assert.deepEqual([write(driver, 63), driver.error], [0x51, 0x04]);
    assert.equal(read(driver, 63), 0x50);
    assert.match(driver.faults[0], /fill the 4096 bytes/);
  }, { mode: "overlay", limit: 4096 }));
