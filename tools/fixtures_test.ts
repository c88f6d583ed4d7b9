import assert from "node:assert/strict";
import { isElf, loadSegments, parseElf } from "../src/x86/elf.ts";
import { buildFixture, canBuild, fixtureNames, fixturePath } from "./fixtures.ts";

/** What a guest runs of a file: other versions of the linker may order symbols differently. */
function essence(bytes: Uint8Array): unknown {
  if (!isElf(bytes)) return bytes;
  const file = parseElf(bytes);
  return { entry: file.entry, segments: loadSegments(file) };
}

Deno.test("fixtures: every .bin is what its .s builds", async () => {
  if (!await canBuild()) {
    console.log("skipped: `as` and `ld` are not there (apt-get install binutils)");
    return;
  }
  for (const name of await fixtureNames()) {
    if (!await canBuild(name)) {
      console.log(`skipped: ${name}: its bytes are of another compiler than the one here`);
      continue;
    }
    const built = essence(await buildFixture(name));
    assert.deepEqual(
      built,
      essence(await Deno.readFile(fixturePath(name))),
      `${name}.bin is stale: deno task fixtures`,
    );
  }
});
