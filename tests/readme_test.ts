/** README.md says what is so: its session is a transcript that a test plays, its commands and files exist. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { hosts } from "../mod.ts";

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

/** The TypeScript blocks, each as a file that can be run. */
const examples = [...readme.matchAll(/```ts\n([^]*?)```/g)].map(([, code]) => code);
const hypervisor = (await hosts()).some(({ backend, usable }) =>
  usable && (backend === "kvm" || backend === "qemu")
);
if (!hypervisor) console.log("skipped: README.md's examples: neither KVM nor QEMU can be used here");

for (const [i, code] of examples.entries()) {
  Deno.test({
    name: `example ${i + 1} of README.md runs`,
    ignore: !hypervisor,
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        const isTest = code.includes("Deno.test(");
        const file = `${folder}/${isTest ? "example_test.ts" : "example.ts"}`;
        await Deno.writeTextFile(file, code.replaceAll('from "./', `from "${ROOT}`));
        const { code: status, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: [isTest ? "test" : "run", "-A", "--config", fileURLToPath(new URL("deno.json", ROOT)), file],
          cwd: ROOT,
          env: { NO_COLOR: "1" },
        }).output();
        const said = new TextDecoder().decode(stdout);
        assert.equal(status, 0, said + new TextDecoder().decode(stderr));
        // What the comments promise: `console.log(...); // 49: ...` prints 49.
        for (const [, promised] of code.matchAll(/^console\.log\(.*\); \/\/ ([^:\n]+)/gm)) {
          assert.ok(said.includes(promised.trim()), `prints ${promised}, not:\n${said}`);
        }
        if (isTest) assert.match(said, /1 passed/);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

Deno.test("it has examples of a script and of a test", () => assert.ok(examples.length >= 2));
