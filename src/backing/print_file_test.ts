import assert from "node:assert/strict";
import { PrintFile } from "./print_file.ts";

async function folder(use: (path: string) => void): Promise<void> {
  const path = await Deno.makeTempDir();
  try {
    use(path);
  } finally {
    await Deno.remove(path, { recursive: true });
  }
}

const print = (file: PrintFile, text: string) =>
  Array.from(new TextEncoder().encode(text), (byte) => file.print(byte)).find((why) => why !== undefined);

Deno.test("print file: it is emptied, lines are there at once, the rest when it is closed, more goes behind", () =>
  folder((at) => {
    const path = `${at}/out.txt`;
    Deno.writeTextFileSync(path, "old");
    const file = new PrintFile(path);
    assert.equal(Deno.readTextFileSync(path), "");
    assert.equal(print(file, "one\ntw"), undefined);
    assert.equal(Deno.readTextFileSync(path), "one\n");
    file.close();
    assert.equal(Deno.readTextFileSync(path), "one\ntw");
    print(file, "o\n");
    file.close();
    assert.equal(Deno.readTextFileSync(path), "one\ntwo\n");
    print(file, "x".repeat(5000));
    assert.equal(Deno.statSync(path).size, 8 + 4096);
    file.close();
  }));

Deno.test("print file: a limit, a file that can't be made, and one that is gone are told", () =>
  folder((at) => {
    const file = new PrintFile(`${at}/out.txt`, 4);
    assert.match(print(file, "12345")!, /has 4 bytes/);
    file.close();
    assert.equal(Deno.readTextFileSync(`${at}/out.txt`), "1234");
    assert.throws(() => new PrintFile(`${at}/no/such`), { name: "InputError", message: /can't be written/ });
    const gone = new PrintFile(`${at}/gone.txt`);
    Deno.removeSync(`${at}/gone.txt`);
    assert.match(print(gone, "a\n")!, /No such file/);
    gone.close();
  }));
