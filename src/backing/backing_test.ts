import "../host/preload.ts";
import assert from "node:assert/strict";
import fc from "fast-check";
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import { FileClusters } from "./file_clusters.ts";
import { MemoryClusters } from "./memory_clusters.ts";
import { MemoryDisk } from "./memory_disk.ts";
import { openDisk } from "./open_disk.ts";
import { Overlay } from "./overlay.ts";

const SECTOR = 512;
/** Not a whole number of clusters. */
const SECTORS = 45;

/** Bytes that differ from sector to sector. */
function pattern(bytes: number, salt = 0): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => (i >> 9) * 7 + i + salt & 0xff);
}

function contents(disk: BlockBacking): Uint8Array {
  const bytes = new Uint8Array(disk.size);
  assert.equal(disk.read(0, bytes), undefined);
  return bytes;
}

async function inFolder(use: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("disk: a file is read and written; a part of a sector at its end is left out, with a note", () =>
  inFolder((folder) => {
    const path = `${folder}/disk.img`;
    Deno.writeFileSync(path, pattern(4 * SECTOR + 100));
    {
      using disk = openDisk(path);
      assert.equal(disk.size, 4 * SECTOR);
      assert.match(disk.notes[0], /2148 bytes.*does not see the last 100/);
      assert.equal(disk.write(SECTOR, new Uint8Array(SECTOR).fill(0xee)), undefined);
      assert.equal(disk.flush(), undefined);
      assert.equal(disk.read(4 * SECTOR, new Uint8Array(SECTOR))?.kind, "range");
      assert.equal(disk.write(3 * SECTOR, new Uint8Array(2 * SECTOR))?.kind, "range");
      assert.equal(disk.read(-SECTOR, new Uint8Array(SECTOR))?.kind, "range");
      const pieces = [new Uint8Array(100), new Uint8Array(2 * SECTOR - 100)];
      assert.equal(disk.readv?.(0, pieces), undefined);
      assert.deepEqual(pieces[1].subarray(SECTOR - 100), new Uint8Array(SECTOR).fill(0xee));
      assert.equal(disk.readv?.(3 * SECTOR, pieces)?.kind, "range");
    }
    const want = pattern(4 * SECTOR + 100);
    want.fill(0xee, SECTOR, 2 * SECTOR);
    assert.deepEqual(Deno.readFileSync(path), want);
    using disk = openDisk(path, { mode: "read-only" });
    assert.equal(disk.readOnly, true);
    assert.equal(disk.write(0, new Uint8Array(SECTOR))?.kind, "read-only");
    disk[Symbol.dispose]();
    assert.equal(disk.read(0, new Uint8Array(SECTOR))?.kind, "closed");
    assert.equal(disk.flush(), undefined);
  }));

Deno.test("disk: what is no disk is refused with what to do", () =>
  inFolder((folder) => {
    const refuses = (path: string, pattern: RegExp, options = {}) =>
      assert.throws(() => openDisk(path, options), (error: Error & { remedy?: string }) => {
        assert.equal(error.name, "InputError");
        assert.match(error.message, pattern);
        assert.ok(error.remedy);
        return true;
      });
    refuses(`${folder}/none.img`, /none.img can't be opened: .*ENOENT/);
    refuses(folder, /folder|EISDIR/);
    refuses(folder, /is a folder/, { mode: "read-only" });
    refuses("/dev/null", /not a file/);
    Deno.writeFileSync(`${folder}/small`, new Uint8Array(511));
    refuses(`${folder}/small`, /511 bytes: not one sector/);
    const vmdk = new Uint8Array(1024);
    vmdk.set(new TextEncoder().encode("KDMV"));
    Deno.writeFileSync(`${folder}/v.img`, vmdk);
    refuses(`${folder}/v.img`, /is a VMDK image/);
    using taken = openDisk(`${folder}/v.img`, { raw: true });
    assert.equal(taken.size, 1024);
  }));

Deno.test("disk: a file that is removed, replaced or shrunk while in use gives faults", () =>
  inFolder((folder) => {
    const path = `${folder}/disk.img`;
    const sector = new Uint8Array(SECTOR);
    const fresh = () => Deno.writeFileSync(path, pattern(8 * SECTOR));
    fresh();
    {
      using disk = openDisk(path);
      Deno.truncateSync(path, 3 * SECTOR + 7);
      assert.equal(disk.read(2 * SECTOR, sector), undefined);
      assert.equal(disk.read(3 * SECTOR, sector)?.kind, "shrunk");
      assert.equal(disk.readv?.(2 * SECTOR, [sector, sector])?.kind, "shrunk");
      // Behind the end too, right after the file was looked at.
      assert.match(disk.read(6 * SECTOR, sector)?.message ?? "", /now ends at 1543/);
      assert.match(disk.write(7 * SECTOR, sector)?.message ?? "", /had 4096 bytes and now ends at 1543/);
      assert.equal(Deno.statSync(path).size, 3 * SECTOR + 7); // did not grow again
      Deno.removeSync(path);
      assert.equal(faultOfReading(disk)?.kind, "gone");
      assert.equal(disk.write(0, sector)?.kind, "gone");
      assert.equal(disk.flush()?.kind, "gone");
    }
    fresh();
    using disk = openDisk(path);
    Deno.writeFileSync(`${folder}/other`, pattern(8 * SECTOR));
    assert.equal(disk.read(0, sector), undefined);
    Deno.renameSync(`${folder}/other`, path);
    assert.equal(faultOfReading(disk)?.kind, "gone");
  }));

/** Reads until there is a fault: a file that was just seen to be there is not looked at anew for each read. */
function faultOfReading(disk: BlockBacking): BlockFault | undefined {
  for (const end = performance.now() + 60_000; performance.now() < end;) {
    const fault = disk.read(0, new Uint8Array(SECTOR));
    if (fault !== undefined) return fault;
  }
  return undefined;
}

Deno.test("disk: a full file system is a fault, and what was there stays", async () => {
  const folder = await Deno.makeTempDir();
  const mount = await new Deno.Command("mount", { args: ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder] })
    .output().catch(() => undefined);
  if (!mount?.success) {
    console.log("skipped: no tmpfs can be mounted here (not root)");
    await Deno.remove(folder);
    return;
  }
  try {
    fill(folder);
  } finally {
    const unmount = await new Deno.Command("umount", { args: [folder] }).output();
    assert.ok(unmount.success);
    await Deno.remove(folder);
  }
});

/** Writes to disks in a folder of 64 KiB until it is full. */
function fill(folder: string): void {
  const path = `${folder}/disk.img`;
  Deno.writeFileSync(path, new Uint8Array(SECTOR));
  Deno.truncateSync(path, 1 << 20);
  const bytes = pattern(1 << 20);
  using over = openDisk(pattern(1 << 20), { overlay: `${folder}/changes` });
  using disk = openDisk(path);
  assert.equal(disk.write(0, bytes.subarray(0, 16384)), undefined);
  assert.equal(disk.write(0, bytes)?.kind, "full");
  assert.equal(disk.flush(), undefined);
  const back = new Uint8Array(16384);
  assert.equal(disk.read(0, back), undefined);
  assert.deepEqual(back, bytes.subarray(0, 16384));
  assert.equal(over.write(0, bytes)?.kind, "full");
  assert.throws(
    () => openDisk(pattern(1 << 20), { overlay: `${folder}/more` }),
    /can't be opened: .*[Nn]o space/,
  );
  assert.deepEqual([...Deno.readDirSync(folder)].map((f) => f.name).sort(), ["changes", "disk.img"]);
}

/** What an overlay does is what an array does, whichever store it has. */
function overlayHolds(store: (size: number) => Overlay, seed: number): void {
  const bytes = fc.nat(255);
  const range = fc.tuple(fc.nat(SECTORS - 1), fc.integer({ min: 1, max: SECTORS })).map(([at, n]) =>
    [at * SECTOR, Math.min(n, SECTORS - at) * SECTOR] as const
  );
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("write" as const), range, value: bytes }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("read" as const), range }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom("flush" as const, "drop" as const, "commit" as const) }),
    },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      using disk = store(SECTORS * SECTOR);
      const base = pattern(SECTORS * SECTOR);
      const model = base.slice();
      for (const s of steps) {
        if (s.kind === "write") {
          const data = pattern(s.range[1], s.value);
          assert.equal(disk.write(s.range[0], data), undefined);
          model.set(data, s.range[0]);
        } else if (s.kind === "read") {
          const into = new Uint8Array(s.range[1]);
          assert.equal(disk.read(s.range[0], into), undefined);
          assert.deepEqual(into, model.slice(s.range[0], s.range[0] + s.range[1]));
        } else {
          assert.equal(disk[s.kind](), undefined);
          if (s.kind === "drop") model.set(base);
          if (s.kind === "commit") base.set(model);
          if (s.kind !== "flush") assert.equal(disk.changed, 0);
        }
      }
      assert.deepEqual(contents(disk), model);
    }),
    { seed, numRuns: Number(Deno.env.get("HVSH_SOAK") ?? 60) },
  );
}

Deno.test("disk: what is discarded reads as zeros, and takes no room in a file", () =>
  inFolder((folder) => {
    const path = `${folder}/disk.img`;
    Deno.writeFileSync(path, pattern(256 * SECTOR, 1));
    const blocks = () => Deno.statSync(path).blocks ?? 0;
    const before = blocks();
    const expected = pattern(256 * SECTOR, 1);
    {
      using disk = openDisk(path);
      assert.equal(disk.discard?.(8 * SECTOR, 200 * SECTOR), undefined);
      assert.equal(disk.discard?.(0, 0), undefined);
      assert.equal(disk.discard?.(255 * SECTOR, 2 * SECTOR)?.kind, "range");
      expected.fill(0, 8 * SECTOR, 208 * SECTOR);
      assert.deepEqual(contents(disk), expected);
    }
    assert.equal(Deno.statSync(path).size, 256 * SECTOR);
    assert.ok(blocks() < before, `${blocks()} blocks of ${before}`);
    using reading = openDisk(path, { mode: "read-only" });
    assert.equal(reading.discard?.(0, SECTOR)?.kind, "read-only");
    using beside = openDisk(path, { mode: "overlay" });
    assert.equal(beside.discard, undefined);
    const bytes = pattern(4 * SECTOR);
    using memory = openDisk(bytes);
    assert.equal(memory.discard?.(SECTOR, SECTOR), undefined);
    assert.deepEqual(bytes.subarray(SECTOR, 2 * SECTOR), new Uint8Array(SECTOR));
  }));

Deno.test("overlay: in memory it is what an array would be", () =>
  overlayHolds(
    (size) => new Overlay({ base: new MemoryDisk(pattern(size)), store: new MemoryClusters("test") }),
    20,
  ));

Deno.test("overlay: in a file it is what an array would be", () =>
  inFolder((folder) => {
    let n = 0;
    overlayHolds((size) =>
      new Overlay({
        base: new MemoryDisk(pattern(size)),
        store: new FileClusters(`${folder}/${n++}`, size),
      }), 21);
  }));

Deno.test("overlay: the disk stays as it is until changes are committed; those in a file can be used again", () =>
  inFolder((folder) => {
    const path = `${folder}/disk.img`;
    const overlay = `${folder}/changes`;
    const before = pattern(64 * 1024);
    Deno.writeFileSync(path, before);
    const changed = before.slice();
    changed.fill(0xaa, 5 * SECTOR, 9 * SECTOR);
    {
      using disk = openDisk(path, { overlay });
      assert.equal(disk.write(5 * SECTOR, changed.slice(5 * SECTOR, 9 * SECTOR)), undefined);
      assert.equal(disk.flush(), undefined);
      assert.equal(disk.overlay?.changed, 8192);
    }
    assert.deepEqual(Deno.readFileSync(path), before);
    {
      using disk = openDisk(path, { overlay });
      assert.deepEqual(contents(disk), changed);
      assert.equal(disk.overlay?.commit(), undefined);
      assert.equal(disk.overlay?.changed, 0);
      assert.deepEqual(contents(disk), changed);
    }
    assert.deepEqual(Deno.readFileSync(path), changed);
    {
      using disk = openDisk(path, { mode: "overlay" });
      disk.write(0, new Uint8Array(SECTOR));
      assert.equal(disk.overlay?.drop(), undefined);
      assert.deepEqual(contents(disk), changed);
    }
    // Of another disk, or of none.
    Deno.writeFileSync(`${folder}/other`, pattern(1024));
    assert.throws(
      () => openDisk(`${folder}/other`, { overlay }),
      /belongs to a disk of 65536 bytes, not 1024/,
    );
    assert.throws(() => openDisk(path, { overlay: path }), /is no overlay/);
    assert.throws(() => openDisk(overlay), /is a hvsh overlay image/);
    assert.throws(() => openDisk(path, { overlay: `${folder}/no/such` }), { name: "InputError" });
  }));

Deno.test("overlay: a limit in memory, a base that fails, an overlay file that is gone", () =>
  inFolder((folder) => {
    using small = openDisk(pattern(1 << 20), { mode: "overlay", limit: 16384 });
    assert.equal(small.write(0, new Uint8Array(16384)), undefined);
    assert.equal(small.write(0, new Uint8Array(512)), undefined);
    assert.equal(small.write(16384, new Uint8Array(512))?.kind, "full");
    assert.deepEqual(contents(small).subarray(16384), pattern(1 << 20).subarray(16384));

    const path = `${folder}/disk.img`;
    Deno.writeFileSync(path, pattern(1 << 16));
    using disk = openDisk(path, { overlay: `${folder}/changes` });
    assert.equal(disk.write(0, new Uint8Array(4096)), undefined);
    Deno.removeSync(path);
    assert.equal(disk.read(0, new Uint8Array(4096)), undefined);
    assert.equal(disk.read(4096, new Uint8Array(512))?.kind, "gone");
    assert.equal(disk.write(4096, new Uint8Array(512))?.kind, "gone"); // the rest of its cluster is missing
    assert.throws(() => disk.overlay?.commit(), { name: "InputError" });
    assert.equal(disk.overlay?.changed, 4096);
    Deno.removeSync(`${folder}/changes`);
    assert.equal(disk.write(0, new Uint8Array(4096))?.kind, "gone");
    assert.equal(disk.overlay?.drop()?.kind, "unwritable");
  }));
