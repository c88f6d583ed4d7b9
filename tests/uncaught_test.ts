/** A script that lets an error of hvsh's go: its remedy is printed too, though Deno shows an error's message alone. */
import assert from "node:assert/strict";

const MOD = new URL("../mod.ts", import.meta.url).href;

/** Runs a script that imports hvsh, with `body` after it. */
async function script(body: string): Promise<{ code: number; stderr: string }> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, `import { open } from ${JSON.stringify(MOD)};\n${body}\n`);
    const args = ["run", "-q", "-A", "--no-check", file];
    const { code, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } })
      .output();
    return { code, stderr: new TextDecoder().decode(stderr) };
  } finally {
    await Deno.remove(file);
  }
}

const REMEDY = "hvsh: what to do about the error below: give memory: MiB(64), say\n";
const MESSAGE = "a guest's memory is a positive multiple of 4096 bytes, not 5";

for (
  const [how, body] of [
    ["awaited by a script", "await open({ memory: 5 });"],
    ["of a promise that nobody awaits", "void open({ memory: 5 });"],
    [
      "thrown in a timer",
      "const e = await open({ memory: 5 }).catch((e) => e); setTimeout(() => { throw e; });",
    ],
    [
      "that caused another",
      `await open({ memory: 5 }).catch((cause) => { throw new Error("mine", { cause }); });`,
    ],
  ] as const
) {
  Deno.test(`an error ${how} is printed with its remedy and ends the script`, async () => {
    const { code, stderr } = await script(body);
    assert.equal(code, 1);
    assert.ok(stderr.startsWith(`${REMEDY}error: Uncaught `), stderr);
    assert.ok(stderr.includes(MESSAGE), stderr);
  });
}

for (
  const [how, body] of [
    ["an error that is dealt with", `await open({ memory: 5 }).catch(() => {});`],
    ["what is no error of hvsh's", `void Promise.reject({ remedy: 5 });`],
    ["an error that is its own cause", `const e = new Error("ring"); e.cause = e; throw e;`],
  ] as const
) {
  Deno.test(`no remedy is printed of ${how}`, async () => {
    const { stderr } = await script(body);
    assert.ok(!stderr.includes("what to do"), stderr);
  });
}
