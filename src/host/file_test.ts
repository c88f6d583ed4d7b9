import assert from "node:assert/strict";
import "./preload.ts";
import { ERRNO } from "../abi/errno.ts";
import { HostFile } from "./file.ts";

async function inFolder(use: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("file: reads and writes at offsets, ends where it ends", () =>
  inFolder((folder) => {
    const path = `${folder}/data`;
    Deno.writeTextFileSync(path, "hello, world");
    using file = new HostFile(path, { write: true });
    assert.deepEqual(file.status(), { kind: "file", size: 12, links: 1 });
    const into = new Uint8Array(5);
    assert.equal(file.read(7, into), 5);
    assert.equal(new TextDecoder().decode(into), "world");
    assert.equal(file.read(10, into), 2);
    assert.equal(file.read(100, into), 0);
    assert.equal(file.write(7, new TextEncoder().encode("there")), 5);
    assert.equal(file.sync(), 0);
    assert.equal(Deno.readTextFileSync(path), "hello, there");
    assert.equal(file.end(), 12);
    Deno.removeSync(path);
    assert.equal(file.status().links, 0);
  }));

Deno.test("file: errors are negative errnos, opening throws, a closed file is closed", () =>
  inFolder((folder) => {
    assert.throws(() => new HostFile(`${folder}/none`, { write: false }), { name: "ENOENT" });
    assert.throws(() => new HostFile(folder, { write: true }), { name: "EISDIR" });
    using listing = new HostFile(folder, { write: false });
    assert.equal(listing.status().kind, "folder");
    assert.equal(listing.read(0, new Uint8Array(1)), -ERRNO.EISDIR);
    const path = `${folder}/data`;
    Deno.writeTextFileSync(path, "x");
    const file = new HostFile(path, { write: false });
    assert.equal(file.write(0, new Uint8Array(1)), -ERRNO.EBADF);
    assert.equal(file.open, true);
    file[Symbol.dispose]();
    assert.equal(file.open, false);
    assert.equal(file.read(0, new Uint8Array(1)), -ERRNO.EBADF);
  }));
