import assert from "node:assert/strict";
import fc from "fast-check";
import { encodeLine, LINE_LIMIT, LineReader } from "./guest/protocol.ts";

/** A reader over these bytes, given in pieces of these sizes, over and over. */
function reader(bytes: Uint8Array, sizes: number[]): LineReader {
  let at = 0, n = 0;
  return new LineReader(() => {
    if (at === bytes.length) return Promise.resolve(null);
    const piece = bytes.slice(at, at + sizes[n++ % sizes.length]);
    at += piece.length;
    return Promise.resolve(piece);
  });
}

Deno.test("lines and the raw bytes after them come out as they went in, however the stream is cut", async () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 8 }),
      sizes,
      async (payloads, sizes) => {
        const parts = payloads.flatMap((payload) => [
          encodeLine({ kind: "data", stream: "stdout", bytes: payload.length }),
          payload,
        ]);
        const from = reader(await new Blob(parts as BlobPart[]).bytes(), sizes);
        for (const payload of payloads) {
          assert.deepEqual(JSON.parse(await from.line() ?? ""), {
            kind: "data",
            stream: "stdout",
            bytes: payload.length,
          });
          const got: number[] = [];
          assert.ok(await from.bytes(payload.length, (piece) => void got.push(...piece)));
          assert.deepEqual(got, [...payload]);
        }
        assert.equal(await from.line(), null);
      },
    ),
    { seed: 3, numRuns: 200 },
  );
});

Deno.test("a line without end is refused, and bytes that never come are reported", async () => {
  await assert.rejects(reader(new Uint8Array(LINE_LIMIT + 100_000), [65536]).line(), RangeError);
  assert.equal(await reader(new Uint8Array(3), [1]).bytes(4, () => {}), false);
});
