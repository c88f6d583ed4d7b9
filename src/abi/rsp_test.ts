import assert from "node:assert/strict";
import fc from "fast-check";
import {
  checksum,
  compressRuns,
  escapeBytes,
  expandRuns,
  frameHex,
  framePacket,
  fromHex,
  PacketReader,
  type RspEvent,
  toHex,
  unescapeBytes,
} from "./rsp.ts";

const LIMIT = 1000;
const ascii = (text: string) => new TextEncoder().encode(text);
const latin1 = (bytes: Uint8Array) => String.fromCharCode(...bytes);
const client = () => new PacketReader({ limit: LIMIT, runLengths: false });
const stub = () => new PacketReader({ limit: LIMIT, runLengths: true });
const shown = (events: RspEvent[]) =>
  events.map((e) => "payload" in e ? `${e.kind} ${latin1(e.payload)}` : "reason" in e ? e.reason : e.kind);

Deno.test("a packet is framed with its checksum, escaped where it must be", () => {
  assert.equal(latin1(framePacket(ascii("OK"))), "$OK#9a");
  assert.equal(latin1(framePacket(ascii(""))), "$#00");
  assert.equal(latin1(framePacket(ascii("a#b"))), "$a}\x03b#" + checksum(ascii("a}\x03b")).toString(16));
  assert.equal(latin1(framePacket(ascii("Stop:"), { notification: true })).slice(0, 6), "%Stop:");
  // The example of the manual: "0* " is "0000".
  assert.equal(latin1(framePacket(ascii("0000"), { runLengths: true })), "$0* #7a");
});

Deno.test("packets, acknowledgements and interrupts come in order, noise aside", () => {
  assert.deepEqual(shown(client().feed(ascii("++$g#67-\x03noise$?#3f%Stop:#e4"))), [
    "ack",
    "ack",
    "packet g",
    "nak",
    "interrupt",
    "packet ?",
    "checksum",
  ]);
});

Deno.test("what is wrong with a packet is said, and the next one is read", () => {
  const after = "$g#67";
  for (
    const [sent, reason] of [
      ["$g#68", "checksum"],
      ["$g#zz", "checksum"],
      ["$gg", "truncated"],
      [`$${"x".repeat(LIMIT + 1)}#00`, "oversized"],
      ["$a}#de", "encoding"],
    ]
  ) {
    assert.deepEqual(shown(client().feed(ascii(sent + after))), [reason, "packet g"], sent.slice(0, 10));
  }
  const run = (body: string) => `$${body}#${checksum(ascii(body)).toString(16).padStart(2, "0")}`;
  for (const body of ["*~", "a*", "a*\x1f", "a*\x7f", "a*~".repeat(20)]) {
    assert.deepEqual(shown(stub().feed(ascii(run(body) + after))), ["encoding", "packet g"], body);
  }
});

Deno.test("a payload of exactly the limit is taken", () => {
  const payload = new Uint8Array(LIMIT).fill(0x61);
  assert.deepEqual(client().feed(framePacket(payload)), [{ kind: "packet", payload }]);
});

Deno.test("property: any payload survives any cutting, with and without run lengths", () => {
  const byte = fc.oneof(fc.constantFrom(...ascii("$#}*\x030+-%")), fc.nat(255));
  const runs = fc.array(fc.tuple(byte, fc.integer({ min: 1, max: 120 })), { maxLength: 6 })
    .map((list) => Uint8Array.from(list.flatMap(([b, n]) => Array<number>(n).fill(b))))
    .filter((bytes) => escapeBytes(bytes).length <= LIMIT);
  fc.assert(
    fc.property(
      fc.array(runs, { maxLength: 4 }),
      fc.boolean(),
      fc.integer({ min: 1, max: 40 }),
      (all, rle, cut) => {
        const line = Uint8Array.from(all.flatMap((p) => [...framePacket(p, { runLengths: rle })]));
        const reader = rle ? stub() : client();
        const events: RspEvent[] = [];
        for (let at = 0; at < line.length; at += cut) {
          events.push(
            ...reader.feed(line.subarray(at, at + cut)),
          );
        }
        assert.deepEqual(events, all.map((payload) => ({ kind: "packet", payload })));
        assert.equal(reader.within, false);
      },
    ),
    { numRuns: 500 },
  );
});

Deno.test("property: any bytes at all are read without an error, the same however they are cut", () => {
  const bytes = fc.uint8Array({ maxLength: 300 }).map((a) =>
    a.map((b) => b < 128 ? ascii("$#}*+-\x03%0a")[b % 10] : b)
  );
  fc.assert(
    fc.property(bytes, fc.integer({ min: 1, max: 20 }), fc.boolean(), (line, cut, rle) => {
      const options = { limit: 20, runLengths: rle };
      const cutting = new PacketReader(options);
      const events: RspEvent[] = [];
      for (let at = 0; at < line.length; at += cut) events.push(...cutting.feed(line.subarray(at, at + cut)));
      assert.deepEqual(shown(events), shown(new PacketReader(options).feed(line)));
    }),
    { numRuns: 1000 },
  );
});

Deno.test("property: escapes, run lengths and hexadecimal undo each other", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    assert.deepEqual(unescapeBytes(escapeBytes(bytes)), bytes);
    const escaped = escapeBytes(bytes);
    assert.deepEqual(expandRuns(compressRuns(escaped), 1000), escaped);
    assert.deepEqual(fromHex(toHex(bytes)), bytes);
  }));
  assert.equal(fromHex(ascii("0")), undefined);
  assert.equal(fromHex(ascii("0g")), undefined);
  assert.equal(fromHex(ascii("g0")), undefined);
  assert.deepEqual(fromHex(ascii("aF")), Uint8Array.of(0xaf));
});

Deno.test("digits framed at once are the digits, framed", () => {
  for (const length of [0, 1, 2, 3, 255, 256, 4097, 16 * 1024, 40_000]) {
    const all = Uint8Array.from({ length: length + 1 }, (_, i) => i * 37 + (i >> 3));
    for (const bytes of [all.subarray(0, length), all.subarray(1)]) {
      assert.deepEqual(frameHex(bytes), framePacket(toHex(bytes)));
    }
  }
});
