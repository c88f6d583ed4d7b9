import assert from "node:assert/strict";
import { elf, MiB, open } from "../../dsl/mod.ts";
import { colorStyle, plainStyle } from "../ansi.ts";
import { COMMANDS } from "../commands/index.ts";
import type { Output } from "../output.ts";
import { Shell } from "../shell.ts";
import type { Style } from "../style.ts";
import { CommandTable } from "../table.ts";
import { describeStop } from "./stop.ts";
import { visible } from "./text.ts";

const FIXTURE = new URL("../../../fixtures/elf64.bin", import.meta.url);

class Kept implements Output {
  readonly terminal = true;
  readonly width: number;
  text = "";
  constructor(width: number) {
    this.width = width;
  }
  get atLineStart(): boolean {
    return this.text === "" || this.text.endsWith("\n");
  }
  write(text: string): void {
    this.text += text;
  }
}

function shellOf(output: Output, style: Style): Shell {
  return new Shell({
    options: { backend: "fake", memory: MiB(16), boot: elf(FIXTURE) },
    table: new CommandTable(COMMANDS),
    style,
    output,
    json: false,
    open: (options) => open(options),
    library: () => Promise.resolve({}),
    describeStop,
    printError: (text) => output.write(text),
  });
}

Deno.test("the context view fits terminals of 40 to 120 columns", async (t) => {
  for (const width of [40, 60, 80, 120]) {
    await t.step(`${width} columns`, async () => {
      const output = new Kept(width);
      const shell = shellOf(output, await colorStyle());
      try {
        await shell.open();
        for (const line of ["tb inner", "c", "si", "si"]) await shell.foreground(() => shell.execute(line));
        for (const line of output.text.split("\n")) {
          if (/^(Temporary|0x)/.test(line)) continue;
          assert(visible(line) <= width, `${visible(line)} columns: ${line}`);
        }
        for (const title of ["registers", "code", "stack", "backtrace"]) {
          assert(output.text.includes(`── ${title}`));
        }
      } finally {
        await shell.close();
      }
    });
  }
});

Deno.test("registers that changed since the stop before are highlighted", async () => {
  const output = new Kept(80);
  const style: Style = { ...plainStyle, changed: (text) => `[${text}]` };
  const shell = shellOf(output, style);
  try {
    await shell.open();
    await shell.foreground(() => shell.execute("si 2"));
    output.text = "";
    await shell.foreground(() => shell.execute("si"));
    assert.match(output.text, /rdi \[0x000000000000000a\]/);
    assert.match(output.text, /rbp 0x0000000000000000/);
    assert.match(output.text, /rip \[0x000000000020000e\]/);
    output.text = "";
    await shell.foreground(() => shell.execute("regs"));
    assert.match(output.text, /rdi \[0x000000000000000a\]/);
  } finally {
    await shell.close();
  }
});
