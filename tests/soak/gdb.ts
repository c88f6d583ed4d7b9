/**
 * Hostile clients for the GDB server: whatever bytes come, it answers in whole packets, ends with the connection,
 * never fails for a reason of its own, and leaves no breakpoint behind. `deno run -A tests/soak/gdb.ts [PACKETS [SEED]]`
 * sends 1,000,000 packets.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { framePacket, PacketReader } from "../../src/abi/rsp.ts";
import { GdbConnection, type Line } from "../../src/gdb/connection.ts";
import { flat, type GuestMachine, open } from "../../src/dsl/mod.ts";

/** Packets of one connection, at most: fewer than may wait. */
const MOST_PACKETS = 40;
const SYNC = "sync";

const ascii = (text: string) => new TextEncoder().encode(text);
const hex = (text: string) => [...ascii(text)].map((b) => b.toString(16).padStart(2, "0")).join("");

// What stands in packets: sensible numbers, edges, nonsense.
const number = fc.oneof(
  fc.constantFrom(
    "0",
    "1",
    "1000",
    "1001",
    "fff",
    "ffffffffffffffff",
    "10000000000000000",
    "-1",
    "",
    "zz",
    "8000000000000000",
  ),
  fc.nat(0xffff).map((n) => n.toString(16)),
);
const small = fc.nat(40).map((n) => n.toString(16));
const digits = fc.oneof(
  fc.uint8Array({ maxLength: 20 }).map((b) => [...b].map((n) => n.toString(16).padStart(2, "0")).join("")),
  number,
);
const thread = fc.constantFrom("p1.1", "p1.2", "1", "2", "-1", "0", "p1.-1", "p2.1", "p", "x", "");
const code = fc.array(
  fc.oneof(fc.constantFrom(0x22, 0x26, 0x17, 0x1a, 0x20, 0x21, 0x27, 0x02, 0x13), fc.nat(0x35)),
  { maxLength: 20 },
);
const condition = code.map((list) =>
  `X${list.length.toString(16)},${list.map((n) => n.toString(16).padStart(2, "0")).join("")}`
);
const joined = (...parts: (fc.Arbitrary<string> | string)[]) =>
  fc.tuple(...parts.map((part) => typeof part === "string" ? fc.constant(part) : part)).map((list) =>
    list.join("")
  );

const action = fc.oneof(
  joined(fc.constantFrom("s", "c", "S05", "C0b", "t", "x"), fc.constantFrom(":", ""), thread),
  joined("r", number, ",", number, ":", thread),
);
/** Packets that let the guest run: a Ctrl-C comes behind each. */
const resumes = fc.oneof(
  joined("vCont;", action),
  joined("vCont;", action, ";", action),
  joined(fc.constantFrom("c", "s", "C05", "S05;"), fc.oneof(fc.constant(""), number)),
);
const queries = fc.constantFrom(
  "?",
  "g",
  "vCont?",
  "qSupported:multiprocess+;swbreak+;error-message+",
  "QStartNoAckMode",
  "qfThreadInfo",
  "qsThreadInfo",
  "qC",
  "qAttached",
  "qHostInfo",
  "QNonStop:1",
  "Qqemu.PhyMemMode:1",
  "Qqemu.PhyMemMode:0",
  "vMustReplyEmpty",
  "vRun;",
  "R00",
  "!",
  "",
);
const packet = fc.oneof(
  { weight: 4, arbitrary: queries },
  { weight: 4, arbitrary: joined(fc.constantFrom("m", "x"), number, ",", fc.oneof(number, small)) },
  { weight: 2, arbitrary: joined(fc.constantFrom("M", "X"), number, ",", small, ":", digits) },
  {
    weight: 2,
    arbitrary: joined(
      fc.constantFrom("p", "qThreadExtraInfo,", "T", "Hg", "Hc", "H"),
      fc.oneof(number, thread),
    ),
  },
  { weight: 2, arbitrary: joined("P", number, "=", digits) },
  { weight: 1, arbitrary: joined("G", digits) },
  {
    weight: 4,
    arbitrary: joined(
      fc.constantFrom("Z", "z"),
      fc.constantFrom("0", "1", "2", "3", "4", "5"),
      ",",
      number,
      ",",
      small,
    ),
  },
  { weight: 3, arbitrary: joined("Z0,", number, ",1;", condition, fc.oneof(fc.constant(""), condition)) },
  {
    weight: 2,
    arbitrary: joined(
      "qXfer:",
      fc.constantFrom("features:read:target.xml", "threads:read:", "memory-map:read:", "x:read:"),
      ":",
      number,
      ",",
      number,
    ),
  },
  { weight: 1, arbitrary: joined("qRcmd,", digits) },
  { weight: 2, arbitrary: fc.string({ unit: "binary-ascii", maxLength: 30 }) },
);
const sent: fc.Arbitrary<Uint8Array> = fc.oneof(
  { weight: 600, arbitrary: packet.map((text) => framePacket(ascii(text))) },
  { weight: 40, arbitrary: resumes.map((text) => Uint8Array.of(...framePacket(ascii(text)), 3)) },
  // Broken on the way: cut short, a byte changed, noise.
  {
    weight: 40,
    arbitrary: fc.tuple(packet, fc.nat(30)).map(([text, n]) => framePacket(ascii(text)).subarray(0, n)),
  },
  {
    weight: 40,
    arbitrary: fc.tuple(packet, fc.nat(30), fc.nat(255)).map(([text, n, byte]) => {
      const bytes = framePacket(ascii(text));
      bytes[n % bytes.length] = byte;
      return bytes;
    }),
  },
  { weight: 40, arbitrary: fc.uint8Array({ maxLength: 30 }) },
  { weight: 20, arbitrary: fc.constantFrom("+", "-", "---", "\x03", "$", "#", "$#00").map(ascii) },
  {
    weight: 1,
    arbitrary: fc.constantFrom("k", "vKill;1", "D", "D;1").map((text) => framePacket(ascii(text))),
  },
);

/** A connection in memory: gives what is to be read in pieces, keeps what is written for a check. */
class Memory implements Line {
  readonly #pieces: Uint8Array[];
  readonly #end = Promise.withResolvers<void>();
  readonly #answers = new PacketReader({ limit: 1 << 20, runLengths: true });
  packets = 0;

  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = [...pieces];
  }

  async read(into: Uint8Array): Promise<number | null> {
    const piece = this.#pieces.shift();
    if (piece === undefined) {
      await this.#end.promise;
      return null;
    }
    into.set(piece);
    return await Promise.resolve(piece.length);
  }

  write(bytes: Uint8Array): Promise<number> {
    for (const { kind } of this.#answers.feed(bytes)) {
      assert.ok(kind === "packet" || kind === "ack" || kind === "nak", `the server sent ${kind}`);
      if (kind === "packet") this.packets++;
    }
    return Promise.resolve(bytes.length);
  }

  /** Nothing more will come. */
  close(): void {
    this.#end.resolve();
  }
}

/** inc ax; mov [0x2000], ax; cmp ax, 40; jne; hlt: it ends by itself. */
const GUEST = Uint8Array.of(0x40, 0xa3, 0x00, 0x20, 0x83, 0xf8, 0x28, 0x75, 0xf7, 0xf4);

/** Sends at least `runs` packets, in connections of a few dozen; the same `seed` sends the same. */
export async function gdbHolds({ runs, seed }: { runs: number; seed: number }): Promise<void> {
  const started = () =>
    open({ backend: "fake", memory: 1 << 20, cpus: 2, boot: flat(GUEST, { at: 0x1000 }) });
  let vm: GuestMachine = await started();
  let packets = 0;
  try {
    await fc.assert(
      fc.asyncProperty(
        fc.array(sent, { minLength: MOST_PACKETS / 2, maxLength: MOST_PACKETS }),
        async (pieces) => {
          if (vm.state === "closed") vm = await started();
          packets += pieces.length;
          const told: string[] = [];
          // A client begins as one. What is open is ended, then a command tells that everything before it was answered.
          const line = new Memory([
            ascii("+"),
            ...pieces,
            ascii("#00#00"),
            framePacket(ascii(`qRcmd,${hex(SYNC)}`)),
          ]);
          const connection = new GdbConnection(line, vm, (text) => told.push(text), (command) => {
            if (command === SYNC) line.close();
            return Promise.resolve(command);
          });
          await connection.serve();
          if (vm.state === "running") await vm.pause();
          assert.deepEqual(told.filter((text) => !text.includes("disconnected")), []);
          if (vm.state !== "closed") assert.deepEqual([...vm.breakpoints], []);
        },
      ),
      { numRuns: Math.ceil(runs / (MOST_PACKETS / 2)), seed, endOnFailure: runs > 10_000 },
    );
    assert.ok(packets >= runs);
  } finally {
    await vm.close();
  }
}

if (import.meta.main) {
  const [runs = 1_000_000, seed = 1] = Deno.args.map(Number);
  await gdbHolds({ runs, seed });
  console.log(`gdb: ${runs} packets, seed ${seed}: all answered`);
}
