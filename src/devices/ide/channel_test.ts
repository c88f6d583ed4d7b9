import assert from "node:assert/strict";
import * as a from "./ata.ts";
import type { IdeCommand } from "./drive.ts";
import { MockDriver, TestStore } from "./mock_driver.ts";

const C = a.COMMAND;

Deno.test("channel: master and slave are told apart, and share the interrupt", () => {
  const stores = [new TestStore(100), new TestStore(200)];
  stores[1].bytes.fill(0xbb);
  const driver = new MockDriver(
    { secondary: { master: { disk: stores[0] }, slave: { disk: stores[1] } } },
    1,
  );
  driver.command(C.READ_SECTORS, 5, 1, 0x50);
  assert.equal(driver.line.level, true);
  assert.equal(driver.guest.line(14).edges, 0);
  // Selecting the other drive takes the line along with it; its interrupt stays pending.
  driver.register(a.DEVICE, 0x40);
  assert.equal(driver.line.level, false);
  assert.equal(driver.status, 0x50);
  driver.register(a.DEVICE, 0x50);
  assert.equal(driver.line.level, true);
  assert.deepEqual(driver.pull(512), new Uint8Array(512).fill(0xbb));
  driver.command(C.READ_SECTORS, 5, 1, 0x40);
  assert.deepEqual(driver.pull(512), stores[0].sectors(5, 1));
});

Deno.test("channel: nIEN masks the interrupt, which stays pending; the alternate status leaves it", () => {
  const driver = new MockDriver({ primary: { master: { disk: new TestStore(100) } } });
  driver.control(a.CONTROL_NIEN_BIT);
  driver.command(C.IDENTIFY_DEVICE);
  assert.equal(driver.line.level, false);
  driver.control(0);
  assert.equal(driver.line.level, true);
  assert.equal(driver.alternateStatus, 0x58);
  assert.equal(driver.line.level, true);
  driver.status;
  assert.equal(driver.line.level, false);
  driver.pull(512);
  driver.command(C.FLUSH_CACHE);
  driver.register(a.STATUS_COMMAND, 0xff); // a new command takes back the last one's
  assert.equal(driver.line.edges, 3);
});

Deno.test("channel: a reset by software ends what goes on and shows the signatures", () => {
  const driver = new MockDriver({
    primary: { master: { disk: new TestStore(100) }, slave: { cdrom: "empty" } },
  });
  driver.command(C.READ_SECTORS, 0, 10);
  driver.control(a.CONTROL_SRST_BIT);
  assert.equal(driver.status, 0x80);
  driver.register(a.STATUS_COMMAND, C.IDENTIFY_DEVICE);
  assert.equal(driver.line.level, false);
  driver.control(0);
  assert.equal(driver.status, 0x50);
  assert.deepEqual([driver.error, ...driver.registers], [1, 1, 1, 0, 0, 0xa0]);
  driver.register(a.DEVICE, 0x10);
  assert.equal(driver.status, 0x00);
  assert.deepEqual(driver.registers, [1, 1, 0x14, 0xeb, 0xb0]);
  driver.register(a.STATUS_COMMAND, C.EXECUTE_DEVICE_DIAGNOSTIC);
  assert.equal(driver.line.level, true);
  assert.equal(driver.status, 0x50);
  assert.deepEqual([driver.error, ...driver.registers], [1, 1, 1, 0, 0, 0xa0]);
  driver.register(a.DEVICE, 0x10);
  driver.register(a.STATUS_COMMAND, C.IDENTIFY_DEVICE);
  assert.equal(driver.status, 0x51);
  assert.deepEqual([driver.error, ...driver.registers], [4, 1, 1, 0x14, 0xeb, 0xb0]);
});

Deno.test("channel: drives that are not there: status 0, commands go nowhere", () => {
  const driver = new MockDriver({ primary: { master: { disk: new TestStore(100) } } }, 1);
  for (let i = 1; i < 8; i++) assert.equal(driver.guest.in(0x170 + i), 0);
  assert.equal(driver.alternateStatus, 0);
  driver.command(C.IDENTIFY_DEVICE);
  assert.equal(driver.line.edges, 0);
  driver.control(a.CONTROL_SRST_BIT);
  assert.equal(driver.status, 0);
  const { guest } = driver;
  guest.out(0x1f6, 0x10);
  guest.out(0x1f2, 0x55);
  guest.out(0x1f7, C.IDENTIFY_DEVICE);
  assert.deepEqual([guest.in(0x1f7), guest.in(0x1f2), guest.in(0x1f6)], [0, 0x55, 0xb0]);
  assert.deepEqual([guest.in(0x1f4), guest.in(0x1f5)], [0xff, 0xff], "no signature");
  assert.deepEqual([guest.in(0x1f0, 2), guest.in(0x170, 2)], [0, 0]);
  guest.out(0x1f6, 0);
  assert.equal(guest.in(0x1f7), 0x50);
});

Deno.test("channel: a command while data waits is ignored; wide accesses to byte registers are split", () => {
  const store = new TestStore(100);
  const driver = new MockDriver({ primary: { master: { disk: store } } });
  driver.command(C.READ_SECTORS, 9, 1);
  driver.register(a.STATUS_COMMAND, C.IDENTIFY_DEVICE);
  assert.deepEqual(driver.pull(512), store.sectors(9, 1));
  const { guest } = driver;
  guest.out(0x1f2, 0x0702_0301 | 0, 4); // count 1, LBA 3, 2, 7
  assert.deepEqual(driver.registers.slice(0, 4), [1, 3, 2, 7]);
  assert.equal(guest.in(0x1f6, 2), 0x50e0);
  guest.out(0x1f4, 0, 2);
  guest.out(0x1f6, C.READ_SECTORS << 8 | 0x40, 2);
  assert.deepEqual(driver.pull(512), store.sectors(3, 1));
});

Deno.test("channel: string accesses move a sector in one call", () => {
  const store = new TestStore(100);
  const driver = new MockDriver({ primary: { master: { disk: store } } });
  const range = driver.ide.ports.find((r) => r.start === 0x1f0)!;
  driver.command(C.READ_SECTORS, 1, 2);
  const data = new Uint8Array(1024);
  driver.ide.readString(0, data.subarray(0, 512), 2, range);
  driver.ide.readString(0, data.subarray(512), 4, range);
  assert.deepEqual(data, store.sectors(1, 2));
  driver.command(C.WRITE_SECTORS, 50, 2);
  driver.ide.writeString(0, data, 2, range);
  assert.deepEqual(store.sectors(50, 2), data);
  driver.ide.readString(7, data.subarray(0, 3), 1, range);
  assert.deepEqual([...data.subarray(0, 3)], [0x50, 0x50, 0x50]);
});

Deno.test("channel: commands can be watched", () => {
  const seen: Omit<IdeCommand, "packet">[] = [];
  const driver = new MockDriver({
    primary: { master: { disk: new TestStore(100) }, slave: { cdrom: new TestStore(64) } },
    onCommand: ({ packet, ...command }) =>
      seen.push(packet ? { ...command, name: `packet ${packet[0]}` } : command),
  });
  driver.command(C.READ_SECTORS, 9, 2);
  driver.pull(1024);
  driver.command(C.FLUSH_CACHE);
  driver.packet([0x28, 0, 0, 0, 0, 3, 0, 0, 1], 2048, false, 0x10);
  const primary = { channel: "primary", drive: 0 };
  assert.deepEqual(seen, [
    { ...primary, command: C.READ_SECTORS, name: "READ SECTORS", lba: 9, count: 2 },
    { ...primary, command: C.FLUSH_CACHE, name: "FLUSH CACHE" },
    { ...primary, drive: 1, command: C.PACKET, name: "PACKET" },
    { ...primary, drive: 1, command: C.PACKET, name: "packet 40", lba: 3, count: 1 },
  ]);
});
