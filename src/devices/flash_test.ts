import assert from "node:assert/strict";
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { Flash, FLASH_BLOCK_BYTES } from "./flash.ts";
import { MockGuest } from "./mock_guest.ts";

const AT = 0xffc0_0000n;
const SIZE = 4 * FLASH_BLOCK_BYTES;
const ERASED = 0xff;
const FULL: BlockFault = { kind: "full", message: "no room for the chip", remedy: "make room" };

/** A chip on a store in memory, which can be made to fail. */
function subject({ readOnly = false, lends = false } = {}) {
  const kept = Uint8Array.from({ length: SIZE }, (_, i) => i & 0xff);
  const faults: string[] = [];
  const broken: { fault?: BlockFault } = {};
  const store: BlockBacking = {
    name: "vars",
    size: SIZE,
    readOnly,
    read: (at, into) => void into.set(kept.subarray(at, at + into.length)),
    write(at, bytes) {
      if (readOnly) {
        return { kind: "read-only", message: "vars can't be written", remedy: "open it for writing" };
      }
      if (broken.fault === undefined) kept.set(bytes, at);
      return broken.fault;
    },
    flush: () => undefined,
  };
  const device = new Flash({ at: AT, store, onFault: ({ message }) => faults.push(message) });
  const guest = new MockGuest();
  guest.lends = lends;
  guest.add(device);
  const write = (offset: number, ...bytes: number[]) => {
    for (const byte of bytes) guest.store(AT + BigInt(offset), byte, 1);
  };
  const read = (offset: number, size: 1 | 2 | 4 = 1) => guest.load(AT + BigInt(offset), size);
  return { device, guest, kept, faults, broken, write, read };
}

Deno.test("flash: OVMF's look at it: bytes that commands don't change, and a status of 0 once it is cleared", () => {
  const { read, write } = subject();
  assert.equal(read(5), 5);
  write(5, 0x50);
  assert.equal(read(5), 5);
  write(5, 0x70);
  assert.equal(read(5), 0);
  write(5, 0xff);
  assert.equal(read(5), 5);
  assert.equal(read(4, 4), 0x07060504);
});

Deno.test("flash: programming clears bits, erasing sets a block's; both are kept", () => {
  const { kept, read, write } = subject();
  write(0x1003, 0x10, 0xf1);
  assert.equal(read(0x1003), 0x80, "ready");
  write(0x1003, 0x40, 0xfe, 0xff);
  assert.equal(read(0x1003), 0x03 & 0xf1 & 0xfe);
  assert.equal(kept[0x1003], 0);
  write(0x1abc, 0x20, 0xd0);
  assert.equal(read(0x1003), 0x80);
  write(0, 0xff);
  assert.deepEqual([read(0xfff), read(0x1000), read(0x1fff), read(0x2001)], [0xff, ERASED, ERASED, 1]);
  assert.ok(kept.subarray(0x1000, 0x2000).every((byte) => byte === ERASED));
});

Deno.test("flash: a wrong sequence is told by both error bits, until they are cleared", () => {
  const { kept, read, write } = subject();
  write(0x1000, 0x20, 0xff);
  assert.equal(read(0), 0xb0);
  write(0, 0x50, 0x70);
  assert.equal(read(0), 0);
  assert.equal(kept[0x1001], 1, "nothing was erased");
});

Deno.test("flash: identifier and CFI table", () => {
  const { read, write } = subject();
  write(0, 0x90);
  assert.deepEqual([read(0), read(1)], [0x89, 0x17]);
  write(0, 0x98);
  assert.equal(String.fromCharCode(read(0x10), read(0x11), read(0x12)), "QRY");
  assert.deepEqual([read(0x13, 2), 1 << read(0x27), read(0x2c)], [1, SIZE, 1]);
  assert.deepEqual([read(0x2d, 2) + 1, read(0x2f, 2) * 256], [4, FLASH_BLOCK_BYTES]);
  assert.equal(read(SIZE - 1), 0);
});

Deno.test("flash: a store that fails, or can't be written, is told by the status, and changes nothing", () => {
  const { faults, broken, read, write } = subject();
  broken.fault = FULL;
  write(3, 0x10, 0);
  assert.deepEqual([read(3), faults], [0x90, [FULL.message]]);
  write(3, 0xff);
  assert.equal(read(3), 3);
  const locked = subject({ readOnly: true });
  locked.write(0x1000, 0x20, 0xd0);
  assert.deepEqual([locked.read(0), locked.faults], [0xa2, []]);
  locked.write(0, 0xff);
  assert.equal(locked.read(0x1001), 1);
});

Deno.test("flash: it lies in lent memory while bytes are read, and writes come to it", () => {
  const { device, guest, read, write } = subject({ lends: true });
  assert.equal(guest.loans, 1);
  write(7, 0x40);
  assert.equal(guest.loans, 0);
  write(7, 0x05);
  write(7, 0xff);
  assert.equal(guest.loans, 1);
  assert.equal(read(7), 5);
  device.detach();
  assert.equal(guest.loans, 0);
});

Deno.test("flash: sizes that no chip has are refused", () => {
  for (const size of [0, 512, 32 << 20]) {
    const store = { name: "odd", size, readOnly: true, read: () => {}, write: () => {}, flush: () => {} };
    assert.throws(() => new Flash({ at: AT, store: store as unknown as BlockBacking }), /no flash chip/);
  }
});

Deno.test("flash: any sequence, saved states", () => {
  anySequence(subject, { seed: 28, runs: 50 });
  refusesForeign(subject().device);
});
