import assert from "node:assert/strict";
import type { BlockFault } from "../../vm/block.ts";
import { anySequence, carry, refusesForeign } from "../device_contract.ts";
import { Dma8237 } from "../dma8237.ts";
import { MockGuest } from "../mock_guest.ts";
import { Fdc } from "./fdc.ts";
import { bytesOf, USUAL_FORMAT } from "./formats.ts";
import { TestStore } from "../ide/mock_driver.ts";

const SECTORS = bytesOf(USUAL_FORMAT) / 512;
const BUFFER = 0x1f000;

/** A controller with a 1.44M disk in A, whose sectors begin with their numbers, and nothing in B. */
function machine(options: { short?: number; readOnly?: boolean } = {}) {
  const store = new TestStore(options.short ?? SECTORS, options.readOnly);
  const sectors = new DataView(store.bytes.buffer);
  for (let i = 0; i < store.bytes.length / 512; i++) sectors.setUint16(i * 512, i, true);
  const faults: BlockFault[] = [];
  const guest = new MockGuest([], 0x30000);
  const dma = guest.add(new Dma8237());
  const device = guest.add(
    new Fdc({ dma: dma.channel(2), drives: [store, "empty"], onFault: (fault) => faults.push(fault) }),
  );
  const irq = guest.line(6);
  const send = (...bytes: number[]) => bytes.forEach((byte) => guest.out(0x3f5, byte));
  const results = () => {
    const bytes: number[] = [];
    while ((guest.in(0x3f4) & 0xd0) === 0xd0 && bytes.length < 20) bytes.push(guest.in(0x3f5));
    return bytes;
  };
  const command = (...bytes: number[]) => {
    send(...bytes);
    return results();
  };
  /** Out of reset with the gate open and motor A on, interrupts sensed, 500 kbit/s, DMA. */
  const start = () => {
    guest.out(0x3f2, 0x1c);
    for (let i = 0; i < 4; i++) command(0x08);
    guest.out(0x3f7, 0);
    command(0x03, 0xdf, 0x02);
  };
  /** Sets up channel 2 as firmware does. */
  const channel = (mode: number, count: number, at = BUFFER) => {
    guest.out(0x0a, 0x06);
    guest.out(0x0c, 0);
    guest.out(0x0b, mode | 2);
    guest.out(0x04, at & 0xff);
    guest.out(0x04, at >> 8 & 0xff);
    guest.out(0x81, at >> 16);
    guest.out(0x05, count - 1 & 0xff);
    guest.out(0x05, count - 1 >> 8);
    guest.out(0x0a, 0x02);
  };
  const numbers = (count: number, at = BUFFER) =>
    Array.from({ length: count }, (_, i) => new DataView(guest.memory.buffer).getUint16(at + i * 512, true));
  return { guest, dma, device, store, faults, irq, send, results, command, start, channel, numbers };
}

Deno.test("fdc: reset is answered by four drives, and the interrupt goes by the gate", () => {
  const { guest, command, irq } = machine();
  assert.equal(guest.in(0x3f4), 0);
  guest.out(0x3f2, 0x04);
  assert.equal(irq.level, false);
  guest.out(0x3f2, 0x0c);
  assert.equal(irq.level, true);
  assert.equal(guest.in(0x3f4), 0x80);
  for (let i = 0; i < 4; i++) assert.deepEqual(command(0x08), [0xc0 | i, 0]);
  assert.equal(irq.level, false);
  assert.deepEqual(command(0x08), [0x80]);
  assert.deepEqual(command(0x10), [0x90]);
  assert.deepEqual(command(0x1f), [0x80]);
  assert.deepEqual(command(0x94), [0x10]);
  assert.equal(guest.in(0x3f6), 0xff); // the disk's
});

Deno.test("fdc: seeks are told by sense interrupt, and end the change line", () => {
  const { guest, command, start, irq } = machine();
  start();
  assert.equal(guest.in(0x3f7), 0x80);
  assert.deepEqual(command(0x0f, 0x04, 5), []);
  assert.equal(irq.level, true);
  assert.deepEqual(command(0x08), [0x24, 5]);
  assert.equal(guest.in(0x3f7), 0);
  assert.deepEqual(command(0x04, 0x00), [0x28]);
  assert.deepEqual(command(0x07, 0x00), []);
  assert.deepEqual(command(0x08), [0x20, 0]);
  assert.deepEqual(command(0x04, 0x00), [0x38]);
  assert.deepEqual(command(0x07, 0x02), []); // no such drive
  assert.deepEqual(command(0x08), [0x72, 0]);
});

Deno.test("fdc: reads by DMA until terminal count, over both heads, and through 64 KiB of a page", () => {
  const { command, start, channel, numbers, irq, guest } = machine();
  start();
  channel(0x44, 3 * 512);
  // The first byte of the result takes the interrupt away; the ID is the next sector's.
  assert.deepEqual(command(0xe6, 0, 0, 0, 17, 2, 18, 0x1b, 0xff), [0x00, 0, 0, 0, 1, 2, 2]);
  assert.equal(irq.edges, 2);
  assert.deepEqual(numbers(3), [16, 17, 18]);
  assert.equal(guest.in(0x08) & 4, 4);
  channel(0x44, 2 * 512, 0x1fe00);
  command(0x46, 4, 0, 1, 1, 2, 18, 0x1b, 0xff);
  assert.deepEqual([...numbers(1, 0x1fe00), ...numbers(1, 0x10000)], [18, 19]);
});

Deno.test("fdc: the end of the track before terminal count is an error, as are sectors that are not there", () => {
  const { guest, command, start, channel } = machine();
  start();
  const read = (...id: number[]) => {
    channel(0x44, 4 * 512);
    return command(0x46, 0, ...id, 18, 0x1b, 0xff).slice(0, 6);
  };
  assert.deepEqual(read(0, 0, 17, 2), [0x40, 0x80, 0, 1, 0, 1]);
  assert.deepEqual(read(0, 0, 0, 2), [0x40, 0x04, 0, 0, 0, 0]);
  assert.deepEqual(read(0, 0, 19, 2), [0x40, 0x04, 0, 0, 0, 19]);
  assert.deepEqual(read(1, 0, 1, 2), [0x40, 0x04, 0x10, 1, 0, 1]);
  assert.deepEqual(read(0, 0, 1, 3), [0x40, 0x04, 0, 0, 0, 1]);
  guest.out(0x3f7, 2); // 250 kbit/s
  assert.deepEqual(read(0, 0, 1, 2).slice(0, 2), [0x40, 0x01]);
  assert.deepEqual(command(0x4a, 0).slice(0, 2), [0x40, 0x01]);
  guest.out(0x3f7, 0);
  assert.deepEqual(command(0x4a, 0).slice(0, 3), [0, 0, 0]);
  assert.deepEqual(command(0x4a, 1).slice(0, 2), [0x41, 0x01]); // drive B is empty
  assert.deepEqual(command(0x56, 0, 0, 0, 1, 2, 18, 0x1b, 0xff).slice(0, 3), [0, 0, 0]);
});

Deno.test("fdc: a command waits for its channel, and goes on over a saved state", () => {
  const { guest, device, start, send, results, channel, numbers } = machine();
  start();
  send(0x46, 0, 0, 0, 3, 2, 18, 0x1b, 0xff);
  assert.equal(guest.in(0x3f4), 0x10);
  carry(device, device);
  channel(0x44, 512);
  assert.deepEqual(results(), [0, 0, 0, 0, 0, 4, 2]);
  assert.deepEqual(numbers(1), [2]);
});

Deno.test("fdc: writes, and what does not come of a sector is zeros", () => {
  const { guest, store, command, start, channel } = machine();
  start();
  guest.memory.fill(0xa5, BUFFER, BUFFER + 1024);
  channel(0x48, 512 + 100);
  assert.deepEqual(command(0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff).slice(0, 3), [0, 0, 0]);
  assert.deepEqual([store.bytes[511], store.bytes[512 + 99], store.bytes[512 + 100]], [0xa5, 0xa5, 0]);
  guest.memory.set([0, 0, 2, 2, 0, 0, 1, 2], BUFFER);
  channel(0x48, 8);
  assert.deepEqual(command(0x4d, 0, 2, 2, 0x54, 0xf6).slice(0, 3), [0, 0, 0]);
  assert.deepEqual([store.bytes[0], store.bytes[1023]], [0xf6, 0xf6]);
});

Deno.test("fdc: without DMA bytes go through the data register, an interrupt for each", () => {
  const { guest, store, send, results, command, start, irq } = machine();
  start();
  command(0x03, 0xdf, 0x03);
  send(0x46, 0, 0, 0, 2, 2, 3, 0x1b, 0xff);
  const before = irq.edges;
  const bytes: number[] = [];
  while (guest.in(0x3f4) === 0xf0) bytes.push(guest.in(0x3f5));
  assert.deepEqual([bytes.length, bytes[0], bytes[512]], [1024, 1, 2]);
  assert.equal(irq.edges - before, 1024); // the last one tells of the result
  assert.deepEqual(results().slice(0, 3), [0, 0, 0]);
  send(0x45, 0, 0, 0, 2, 2, 2, 0x1b, 0xff);
  for (let i = 0; guest.in(0x3f4) === 0xb0; i++) guest.out(0x3f5, i);
  assert.deepEqual(results().slice(0, 3), [0, 0, 0]);
  assert.equal(store.bytes[512 + 77], 77);
});

Deno.test("fdc: a protected disk, an image that stops early, and faults of the host", () => {
  const closed = machine({ readOnly: true });
  closed.start();
  closed.channel(0x48, 512);
  assert.deepEqual(closed.command(0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff).slice(0, 2), [0x40, 0x02]);
  assert.deepEqual(closed.command(0x04, 0), [0x78]);
  const short = machine({ short: 2 });
  short.start();
  short.channel(0x44, 1024);
  assert.deepEqual(short.command(0x46, 0, 0, 0, 2, 2, 18, 0x1b, 0xff).slice(0, 3), [0, 0, 0]);
  assert.deepEqual(short.numbers(2), [1, 0]);
  short.channel(0x48, 512);
  assert.deepEqual(short.command(0x45, 0, 0, 0, 3, 2, 18, 0x1b, 0xff).slice(0, 3), [0x40, 0x20, 0x20]);
  short.store.bad.set(0, "unreadable");
  for (let i = 0; i < 2; i++) {
    short.channel(0x44, 512);
    assert.deepEqual(short.command(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff).slice(0, 3), [0x40, 0x20, 0x20]);
  }
  assert.deepEqual(short.faults.map(({ kind }) => kind), ["unreadable"]);
});

Deno.test("fdc: a disk that is changed is seen as changed", () => {
  const { guest, device, start, command } = machine();
  start();
  command(0x0f, 0, 1);
  assert.equal(guest.in(0x3f7), 0);
  device.drives[0]!.insert(undefined);
  command(0x0f, 0, 0);
  assert.equal(guest.in(0x3f7), 0x80);
  assert.deepEqual(command(0x4a, 0).slice(0, 2), [0x40, 0x01]);
});

Deno.test("fdc: any sequence, saved states", () => {
  const subject = () => {
    const made = machine({ short: 40 });
    made.start();
    made.channel(0x54, 0x10000, 0x10000); // over and over
    return made;
  };
  anySequence(subject, { seed: 82077, runs: 60 });
  refusesForeign(machine().device);
});
