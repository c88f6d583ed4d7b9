import "../host/preload.ts";
import assert from "node:assert/strict";
import { openUnixSockets } from "./sockets.ts";

/** Looks until something is there. */
async function until<T>(look: () => T | undefined): Promise<T> {
  for (let i = 0; i < 500; i++) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  throw new Error("nothing came");
}

async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (words: string) => new TextEncoder().encode(words);

Deno.test("sockets: what the guest connects to is what was given, and nothing else", () =>
  inFolder(async (folder) => {
    const path = `${folder}/host.sock`;
    using sockets = openUnixSockets({ connect: { 5: path, 6: `${folder}/nobody` } });
    assert.equal(sockets.connect(5), undefined, "nobody listens yet");
    using listener = Deno.listen({ transport: "unix", path });
    assert.deepEqual([sockets.connect(6), sockets.connect(7), sockets.accept()], [
      undefined,
      undefined,
      undefined,
    ]);
    const stream = sockets.connect(5)!;
    using other = await listener.accept();
    stream.send(bytes("hello"));
    const into = new Uint8Array(10);
    assert.equal(text(into.subarray(0, await other.read(into) ?? 0)), "hello");
    stream.finish();
    assert.equal(await other.read(into), null);
    await other.write(bytes("the answer comes all the same"));
    assert.equal(text(await until(() => stream.receive())), "the answer comes all the same");
    await other.closeWrite();
    await until(() => stream.receive() === undefined && stream.finished || undefined);
    assert.equal(stream.ended, false);
    stream.close();
    stream.close();
    assert.equal(stream.ended, true);
  }));

Deno.test("sockets: others of this user connect to the guest; the path goes with the listener", () =>
  inFolder(async (folder) => {
    const path = `${folder}/guest.sock`;
    const sockets = openUnixSockets({ listen: [{ path, port: 22 }] });
    assert.throws(() => openUnixSockets({ listen: [{ path, port: 23 }] }), /EADDRINUSE/);
    assert.equal((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
    using other = await Deno.connect({ transport: "unix", path });
    const { port, stream } = await until(() => sockets.accept());
    assert.equal(port, 22);
    await other.write(bytes("in"));
    assert.equal(text(await until(() => stream.receive())), "in");
    stream.close();
    sockets[Symbol.dispose]();
    sockets[Symbol.dispose]();
    assert.throws(() => Deno.statSync(path), Deno.errors.NotFound);
  }));

Deno.test("sockets: ports that are none, and paths that are too long, are refused", () => {
  assert.throws(() => openUnixSockets({ connect: { [-1]: "/x" } }), /port -1/);
  assert.throws(() => openUnixSockets({ listen: [{ path: "/x", port: 2 ** 32 }] }), /port 4294967296/);
  assert.throws(
    () => openUnixSockets({ listen: [{ path: `/tmp/${"x".repeat(120)}`, port: 1 }] }),
    /ENAMETOOLONG/,
  );
});
