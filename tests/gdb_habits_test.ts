/** Habits from gdb that take more than one line, or a whole process. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** What hvsh prints that runs a file of commands on the fixture kernel. */
async function hvsh(script: string): Promise<string> {
  const file = await Deno.makeTempFile({ suffix: ".gdb" });
  try {
    await Deno.writeTextFile(file, script);
    const { stdout, stderr, code } = await new Deno.Command(Deno.execPath(), {
      args: [
        ...["run", "-q", "-A", "--no-check", "--config", path("../deno.json"), path("../src/repl/main.ts")],
        ...["--backend", "fake", "-kernel", path("../fixtures/elf64.bin"), "-x", file],
      ],
      stdin: "null",
    }).output();
    const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assert.equal(code, 0, said);
    return said;
  } finally {
    await Deno.remove(file);
  }
}

Deno.test("gdb habits: commands takes the lines up to end, for the newest breakpoint or one by number", async () => {
  const said = await hvsh(`break middle
break inner if $rdi == 9
commands
  silent
  printf "inner(%d)\\n", $rdi
end
commands 1
  print 6 * 7
end
continue
continue
`);
  assert.match(said, /^Breakpoint 1, .*middle[^]*\$1 = 42\n/m);
  assert.match(said, /^inner\(9\)$/m);
  assert.doesNotMatch(said, /Breakpoint 2,/);
});

Deno.test("gdb habits: a stop of work in the background is told once, and leaving meanwhile is no error", async () => {
  const said = await hvsh(`break inner
continue &
= await new Promise((done) => setTimeout(done, 1500))
delete
`);
  assert.equal(said.split("Breakpoint 1, ").length, 2, said);
  const left = await hvsh("continue &\nquit\n");
  assert.doesNotMatch(left, /No guest|closed/i);
});
