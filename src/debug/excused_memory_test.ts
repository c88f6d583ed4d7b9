import assert from "node:assert/strict";
import { ExcusedMemory } from "./excused_memory.ts";
import type { RecordedStep } from "./recording.ts";

const wrote = (address: bigint, ...bytes: number[]): RecordedStep => ({
  address: 0n,
  code: new Uint8Array(),
  bitness: 64,
  registers: new Map(),
  reads: [],
  writes: [{ address, bytes: Uint8Array.from(bytes) }],
});

Deno.test("only the bytes that differ are excused, until both sides write the same there", () => {
  const memory = new ExcusedMemory();
  memory.excuse(wrote(0x10n, 1, 2, 3), wrote(0x10n, 1, 9, 3));
  assert.deepEqual([0x10n, 0x11n, 0x12n].map((address) => memory.holds({ address, size: 1 })), [
    false,
    true,
    false,
  ]);
  assert.ok(memory.holds({ address: 0xen, size: 4 }));
  memory.forget(wrote(0x11n, 5));
  assert.ok(!memory.holds({ address: 0xen, size: 8 }));
});

Deno.test("writes to two places excuse both, and a store that comes out the same ends it", () => {
  const memory = new ExcusedMemory();
  memory.excuse(wrote(0x10n, 1), wrote(0x20n, 1));
  assert.ok(memory.holds({ address: 0x10n, size: 1 }) && memory.holds({ address: 0x20n, size: 1 }));
  memory.excuse(wrote(0x10n, 4), wrote(0x10n, 4));
  assert.ok(!memory.holds({ address: 0x10n, size: 1 }));
});
