import assert from "node:assert/strict";
import { note, orphans, strike } from "./journal.ts";

Deno.test("journal: a domain is an orphan when the process that made it is no more", () => {
  const folder = Deno.makeTempDirSync();
  try {
    assert.deepEqual(orphans(`${folder}/none`), []);
    note("hvsh-mine", folder);
    // This process's number, but of one that was started at another time; and a note half written.
    Deno.writeTextFileSync(`${folder}/hvsh-old`, JSON.stringify({ pid: Deno.pid, started: "1" }));
    Deno.writeTextFileSync(`${folder}/hvsh-half`, '{"pid":');
    assert.deepEqual(orphans(folder), ["hvsh-old"]);
    strike("hvsh-old", folder);
    strike("hvsh-old", folder);
    assert.deepEqual(orphans(folder), []);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
