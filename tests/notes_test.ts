/** What is odd about an image reaches whoever gave it. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../src/repl/main.ts", import.meta.url));
const CONFIG = fileURLToPath(new URL("../deno.json", import.meta.url));
const FIXTURES = fileURLToPath(new URL("../fixtures/", import.meta.url));

async function errorsOf(...args: string[]): Promise<string> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-q",
      "-A",
      "--no-check",
      "--config",
      CONFIG,
      MAIN,
      "--backend",
      "fake",
      ...args,
      "-c",
      "quit",
    ],
    stdin: "null",
  }).output();
  const said = new TextDecoder().decode(stderr);
  assert.equal(code, 0, said);
  return said;
}

Deno.test("notes: what is odd about a kernel is told where nobody sees a greeting", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const kernel = await Deno.readFile(`${FIXTURES}multiboot.bin`);
    const view = new DataView(kernel.buffer);
    let at = 0;
    while (view.getUint32(at, true) !== 0x1badb002) at += 4;
    view.setUint32(at + 8, 0, true);
    await Deno.writeFile(`${folder}/wrong`, kernel);
    const wrong = new RegExp(
      `plain ELF file: the checksum of its multiboot header \\(at offset ${at}\\) is wrong`,
    );
    assert.match(await errorsOf("-kernel", `${folder}/wrong`), wrong);
    assert.equal(await errorsOf("-q", "-kernel", `${folder}/wrong`), "");
    view.setUint32(at, 0xe85250d6, true);
    await Deno.writeFile(`${folder}/two`, kernel);
    assert.match(await errorsOf("-kernel", `${folder}/two`), /multiboot 2/);
    assert.equal(await errorsOf("-kernel", `${FIXTURES}multiboot.bin`), "");
    const whole = await Deno.readFile(`${FIXTURES}elf64.bin`);
    await Deno.writeFile(`${folder}/cut`, whole.subarray(0, whole.length - 1));
    assert.match(await errorsOf("-kernel", `${folder}/cut`), /before the section headers .* no symbols/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
