import "../host/preload.ts";
import assert from "node:assert/strict";
import { leftMarks, Marks } from "./marks.ts";

const DOMAIN = { domain: 7, uuid: "0123456789abcdef".repeat(2), name: "web" };

/** Runs `use` in a folder of its own, which is gone afterwards. */
function inFolder(use: (folder: string) => void): void {
  const parent = Deno.makeTempDirSync();
  try {
    use(`${parent}/marks`);
  } finally {
    Deno.removeSync(parent, { recursive: true });
  }
}

/** Makes it look as if the process that wrote it were gone. */
function bury(folder: string): string {
  const name = [...Deno.readDirSync(folder)].map((entry) => entry.name).find((each) =>
    !each.endsWith("held")
  )!;
  const path = `${folder}/${name}`;
  Deno.writeTextFileSync(path, Deno.readTextFileSync(path).replace(/"started":"\d+"/, '"started":"0"'));
  return path;
}

Deno.test("marks: what was put in is read again, once its process is gone", () =>
  inFolder((folder) => {
    using marks = new Marks(DOMAIN, folder);
    marks.held = true;
    marks.patch(0x1000n, Uint8Array.of(0xcc), Uint8Array.of(0x90));
    marks.patch(0x2000n, Uint8Array.of(0xe6, 0xee), Uint8Array.of(1, 2));
    marks.patch(0x1000n, Uint8Array.of(0xcc), undefined);
    marks.debugRegisters(new Map([[1, new Map([["dr7", 0x400n], ["dr0", 2n ** 64n - 1n]])]]));
    marks.step(0, false);
    marks.step(0, true);
    marks.down([1, 2]);
    marks.listener(true);
    marks.deviceModel(3);
    const traps = [1n, 2n].map((address) => ({ flags: 0, cs: 0xe033, address }));
    marks.stopStub({
      place: 0xffff_ffff_8100_0000n,
      original: Uint8Array.of(0xcc, 0xcc),
      traps: [[traps[0], traps[1]]],
    });
    assert.deepEqual(leftMarks(7, folder), [], "its process lives");
    bury(folder);
    const [{ left }, ...more] = leftMarks(7, folder);
    assert.deepEqual(more, []);
    assert.deepEqual({ ...left, owner: 0 }, {
      ...DOMAIN,
      owner: 0,
      held: true,
      patches: [{ at: 0x2000n, code: Uint8Array.of(0xe6, 0xee), original: Uint8Array.of(1, 2) }],
      registers: new Map([[1, new Map([["dr7", 0x400n], ["dr0", 2n ** 64n - 1n]])]]),
      stepped: new Map([[0, true]]),
      down: [1, 2],
      monitor: true,
      server: 3,
      stub: {
        place: 0xffff_ffff_8100_0000n,
        original: Uint8Array.of(0xcc, 0xcc),
        traps: [[traps[0], traps[1]]],
      },
    });
    assert.deepEqual(leftMarks(8, folder), [], "it is of one domain");
    assert.equal(leftMarks(undefined, folder).length, 1);
  }));

Deno.test("marks: closed, nothing is left of it; closed twice is harmless", () =>
  inFolder((folder) => {
    const marks = new Marks(DOMAIN, folder);
    marks.held = true;
    marks[Symbol.dispose]();
    marks[Symbol.dispose]();
    marks.held = false;
    marks.listener(true);
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  }));

Deno.test("marks: a journal that is cut off, or none of hvsh's, has a problem and no content", () =>
  inFolder((folder) => {
    using marks = new Marks(DOMAIN, folder);
    marks.patch(0x1000n, Uint8Array.of(0xcc), Uint8Array.of(0x90));
    const path = bury(folder);
    const whole = Deno.readTextFileSync(path);
    // Where nobody can read who wrote it, the file's name tells its process.
    Deno.renameSync(path, `${folder}/7.999999999.1`);
    const odd = [
      whole.slice(0, -5),
      "",
      "[]",
      "null",
      whole.replace('"version":1', '"version":2'),
      whole.replace('"at":"1000"', '"at":"-1000"'),
      whole.replace('"code":"cc"', '"code":"cccc"'),
      whole.replace('"code":"cc"', '"code":"zz"'),
      whole.replace('"domain":7', '"domain":"7"'),
      whole.replace('"pid":', '"pod":'),
    ];
    for (const text of odd) {
      Deno.writeTextFileSync(`${folder}/7.999999999.1`, text);
      const [{ left, problem }] = leftMarks(7, folder);
      assert.equal(left, undefined, text);
      assert.match(problem!, /none of hvsh's, or cut off/);
    }
    Deno.writeTextFileSync(`${folder}/7.999999999.1`, whole);
    assert.equal(leftMarks(7, folder)[0].left?.patches.length, 1);
  }));

Deno.test("marks: a folder that can't be made or written is told of, and nothing else happens", () =>
  inFolder((folder) => {
    Deno.writeTextFileSync(folder, "no folder");
    using marks = new Marks(DOMAIN, folder);
    assert.match(marks.trouble!, /exists|directory/i);
    marks.held = true;
    marks.patch(0x1000n, Uint8Array.of(0xcc), Uint8Array.of(0x90));
    assert.equal([...marks.patches].length, 1, "the program's own end is put right by them");
    assert.deepEqual(leftMarks(undefined, folder), []);
  }));
