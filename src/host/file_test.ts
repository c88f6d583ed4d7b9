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

Deno.test("file: several pieces are read one behind the other, however many, as far as the file goes", () =>
  inFolder((folder) => {
    const path = `${folder}/data`;
    const data = Uint8Array.from({ length: 5000 }, (_, i) => i * 7 ^ i >> 8);
    Deno.writeFileSync(path, data);
    using file = new HostFile(path, { write: false });
    const memory = new Uint8Array(8192);
    const other = new Uint8Array(10);
    const pieces = [memory.subarray(4000, 4003), other, memory.subarray(0, 0), memory.subarray(17, 1017)];
    assert.equal(file.readv(1, pieces), 1013);
    assert.deepEqual(pieces.flatMap((piece) => [...piece]), [...data.subarray(1, 1014)]);
    assert.deepEqual([memory[3999], memory[4003], memory[16], memory[1017]], [0, 0, 0, 0]);
    // More than one call takes.
    const many = Array.from({ length: 1500 }, (_, i) => memory.subarray(2 * i, 2 * i + 2));
    assert.equal(file.readv(7, many), 3000);
    assert.deepEqual(memory.subarray(0, 3000), data.subarray(7, 3007));
    memory.fill(0);
    assert.equal(
      file.readv(4990, [memory.subarray(0, 4), memory.subarray(100, 108), memory.subarray(200, 204)]),
      10,
    );
    assert.deepEqual(memory.subarray(100, 106), data.subarray(4994));
    assert.equal(file.readv(6000, [memory.subarray(0, 4)]), 0);
    file[Symbol.dispose]();
    assert.equal(file.readv(0, pieces), -ERRNO.EBADF);
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
