import "../host/preload.ts";
import assert from "node:assert/strict";
import { findProgram } from "../host/child.ts";
import { emptyQcow2 } from "../remote/qemu/empty_qcow2.ts";
import { openDisk } from "./open_disk.ts";

const DAEMON = "qemu-storage-daemon";
const missing = findProgram(DAEMON) === undefined ? `no ${DAEMON} (Debian's qemu-system-common)` : undefined;
if (missing !== undefined) console.log(`skipped: disks of NBD servers: ${missing}`);

const SECTOR = 512;
const SIZE = 8 << 20;

async function inFolder(use: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function test(name: string, fn: (folder: string) => void | Promise<void>): void {
  Deno.test({
    name: `disk: ${name}`,
    ignore: missing !== undefined,
    fn: async () => {
      await inFolder(fn);
      // The program ends a moment after its disk is closed.
      for (let i = 0; i < 200 && children() !== ""; i++) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    },
  });
}

/** Processes that this one has started and that are not over. */
function children(): string {
  const threads = [...Deno.readDirSync("/proc/self/task")];
  return threads.map(({ name }) => Deno.readTextFileSync(`/proc/self/task/${name}/children`)).join("").trim();
}

const pattern = (bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => (i >> 9) * 7 + i & 0xff);

function read(disk: { read(at: number, into: Uint8Array): unknown }, at: number, bytes: number): Uint8Array {
  const into = new Uint8Array(bytes).fill(0xee);
  assert.equal(disk.read(at, into), undefined);
  return into;
}

/** An empty qcow2 image. */
function image(folder: string): string {
  const path = `${folder}/disk.qcow2`;
  Deno.writeFileSync(path, emptyQcow2(SIZE));
  return path;
}

test("a qcow2 image is read and written, and keeps what was written", (folder) => {
  const path = image(folder);
  const bytes = pattern(3 << 20);
  {
    using disk = openDisk(path);
    assert.deepEqual([disk.size, disk.readOnly, disk.name], [SIZE, false, path]);
    assert.deepEqual(read(disk, SECTOR, SECTOR), new Uint8Array(SECTOR));
    assert.equal(disk.write(5 * SECTOR, bytes), undefined);
    assert.equal(disk.flush(), undefined);
    assert.deepEqual(read(disk, 5 * SECTOR, bytes.length), bytes);
    assert.equal(disk.read(SIZE, new Uint8Array(SECTOR))?.kind, "range");
  }
  assert.ok(Deno.statSync(path).size > bytes.length);
  using again = openDisk(path, { mode: "read-only" });
  assert.deepEqual(read(again, 5 * SECTOR, bytes.length), bytes);
  assert.equal(again.write(0, new Uint8Array(SECTOR))?.kind, "read-only");
});

test("what is discarded of a qcow2 image reads as zeros", (folder) => {
  using disk = openDisk(image(folder));
  disk.write(0, pattern(1 << 20));
  assert.equal(disk.discard?.(0, 1 << 20), undefined);
  assert.deepEqual(read(disk, 0, 1 << 20), new Uint8Array(1 << 20));
});

test("a qcow2 image under an overlay stays as it is, and is not committed to", (folder) => {
  const path = image(folder);
  const before = Deno.readFileSync(path);
  {
    using disk = openDisk(path, { mode: "overlay" });
    assert.equal(disk.write(0, pattern(SECTOR)), undefined);
    assert.deepEqual(read(disk, 0, SECTOR), pattern(SECTOR));
    assert.throws(() => disk.overlay?.commit(), /another program has open/);
  }
  assert.deepEqual(Deno.readFileSync(path), before);
});

test("an image that names other files is refused before anything is started", (folder) => {
  const path = image(folder);
  const bytes = Deno.readFileSync(path);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(8, 0x200n);
  view.setUint32(16, 11);
  bytes.set(new TextEncoder().encode("/etc/passwd"), 0x200);
  Deno.writeFileSync(path, bytes);
  assert.throws(() => openDisk(path), /has a backing file, which is not opened/);
  view.setBigUint64(8, 0n);
  view.setUint32(16, 0);
  view.setUint32(4, 3);
  view.setBigUint64(72, 4n);
  Deno.writeFileSync(path, bytes);
  assert.throws(() => openDisk(path), /its data in another file/);
});

test("an image that is damaged is refused with what to do", (folder) => {
  const path = image(folder);
  const bytes = Deno.readFileSync(path);
  new DataView(bytes.buffer).setUint32(4, 77);
  Deno.writeFileSync(path, bytes);
  assert.throws(
    () => openDisk(path),
    /can't be opened by the program that reads qcow2 images: it ended at once/,
  );
});

/** A server of the test's own on a Unix socket, in another thread: our side waits with its thread. */
async function server(socket: string, script: string): Promise<AsyncDisposable> {
  const code = `
    const listener = Deno.listen({ transport: "unix", path: ${JSON.stringify(socket)} });
    postMessage("ready");
    const connection = await listener.accept();
    const send = (...parts) => connection.write(Uint8Array.from(parts.flat()));
    const receive = async (length) => {
      const into = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const n = await connection.read(into.subarray(done));
        if (n === null) break;
        done += n;
      }
      return into;
    };
    const text = (words) => [...new TextEncoder().encode(words)];
    const number = (value, bytes) => Array.from({ length: bytes }, (_, i) => Number(BigInt(value) >> BigInt(8 * (bytes - 1 - i)) & 0xffn));
    const hello = async () => {
      await send(text("NBDMAGICIHAVEOPT"), number(3, 2));
      await receive(4 + 16 + 4 + 2);
    };
    const reply = (type, data) => send(number(0x3e889045565a9n, 8), number(7, 4), number(type, 4), number(data.length, 4), data);
    const info = (size) => reply(3, [...number(0, 2), ...number(size, 8), ...number(1, 2)]);
    ${script}
  `;
  const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "application/typescript" })), {
    type: "module",
  });
  await new Promise((resolve) => worker.onmessage = resolve);
  return { [Symbol.asyncDispose]: () => Promise.resolve(worker.terminate()) };
}

const HOSTILE: readonly (readonly [what: string, script: string, said: RegExp])[] = [
  ["is none", `await send(text("SSH-2.0-OpenSSH_9.2p1 Debian\\r\\n"));`, /is no NBD server/],
  ["closes at once", `connection.close();`, /it closed the connection/],
  ["is of the old kind", `await send(text("NBDMAGICIHAVEOPT"), number(0, 2));`, /older than/],
  [
    "has no such export",
    `await hello(); await reply(0x80000006, text("no such thing"));`,
    /refuses.*no such thing/,
  ],
  ["answers with a long text", `await hello(); await reply(0x80000006, number(0, 5000));`, /makes no sense/],
  ["tells no size", `await hello(); await reply(1, []);`, /how large it is/],
  ["is empty", `await hello(); await info(0); await reply(1, []);`, /has 0 bytes/],
  [
    "is larger than numbers",
    `await hello(); await info(2n ** 63n); await reply(1, []);`,
    /has 9223372036854775808/,
  ],
];
for (const [what, script, said] of HOSTILE) {
  Deno.test(`disk: an NBD server that ${what}`, () =>
    inFolder(async (folder) => {
      await using _server = await server(`${folder}/nbd`, script);
      assert.throws(() => openDisk(`nbd+unix:///?socket=${folder}/nbd`), said);
    }));
}

Deno.test("disk: an NBD server that goes, or answers nonsense, is a fault for the guest", () =>
  inFolder(async (folder) => {
    const answers = [
      `connection.close();`,
      `await send(number(0x12345678, 4), number(0, 12));`,
      `await send(number(0x67446698, 4), number(28, 4), number(1, 8)); await receive(1);`,
    ];
    const kinds = ["gone", "gone", "full"];
    for (const [i, answer] of answers.entries()) {
      const socket = `${folder}/nbd${i}`;
      await using _server = await server(
        socket,
        `await hello(); await info(1 << 20); await reply(1, []); await receive(28); ${answer}`,
      );
      using disk = openDisk(`nbd+unix:///?socket=${socket}`);
      const fault = disk.read(0, new Uint8Array(SECTOR));
      assert.equal(fault?.kind, kinds[i], fault?.message);
      if (kinds[i] === "gone") assert.equal(disk.write(0, new Uint8Array(SECTOR))?.kind, "gone");
    }
  }));

Deno.test("disk: a server that nobody named, and one that is not there", () => {
  assert.throws(() => openDisk("nbd+unix:///disk"), /where the server listens/);
  assert.throws(() => openDisk("nbd+unix:///disk?socket=/nowhere/at/all"), /ENOENT/);
});
