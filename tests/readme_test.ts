/** README.md says what is so: its session is a transcript that a test plays, its commands and files exist. */
import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);
const readme = await Deno.readTextFile(new URL("README.md", ROOT));

Deno.test("the first session is the transcript, word for word", async () => {
  const transcript = await Deno.readTextFile(new URL("tests/transcripts/readme.txt", ROOT));
  const played = transcript.slice(transcript.indexOf("hvsh> ")).trimEnd();
  const block = /```console\n\$ .*\n([^]*?)\nhvsh\[kvm\]> quit\n```/.exec(readme);
  assert.ok(block, "README.md has a console block that ends with quit");
  assert.equal(block[1].replaceAll("hvsh[kvm]> ", "hvsh> "), played);
});

Deno.test("every file it names is there", async () => {
  const named = readme.matchAll(
    /(?<![\w/-])((?:src|docs|scripts|fixtures|tests)\/[\w/.-]*|[\w-]+\.(?:ts|md))(?![\w/])/g,
  );
  const names = new Set(
    [...named].map(([, name]) => name.replace(/\.$/, "")).filter((name) => name !== "FILE.ts"),
  );
  assert.ok(names.size > 8, "the pattern finds them");
  for (const name of names) {
    await assert.doesNotReject(Deno.stat(new URL(name, ROOT)), `README.md names ${name}`);
  }
});

Deno.test("every task it names is there", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
  const named = new Set(
    [...readme.matchAll(/(?:deno|deno@[\d.]+) task ([a-z][\w:]*)/g)].map(([, name]) => name),
  );
  assert.ok(named.size >= 5);
  for (const name of named) assert.ok(name in tasks, `README.md names the task ${name}`);
});
