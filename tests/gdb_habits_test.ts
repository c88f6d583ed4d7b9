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

Deno.test("gdb habits: save breakpoints writes what source makes again", async () => {
  const file = await Deno.makeTempFile({ suffix: ".gdb" });
  try {
    const said = await hvsh(`break inner if $rdi == 9
commands {print 6 * 7; info registers rdi}
tbreak/s *middle
watch/8 &total
catch port 0xf4 write if $value > 1
break phys(0x200013)
ignore $bpnum 2
disable $bpnum
= await vm.breakpoints.add(gva(0x200027n), { condition: () => true }); 0
save breakpoints ${file}
delete
source ${file}
info breakpoints
`);
    const lines = (await Deno.readTextFile(file)).trimEnd().split("\n");
    assert.deepEqual(lines.slice(0, 8), [
      "break *0x200055 if $rdi == 9",
      "commands {print 6 * 7; info registers rdi}",
      "tbreak/s *0x20003d",
      "watch/8 0x201087",
      "catch port 0xf4 write if $value > 1",
      "break phys(0x200013)",
      "ignore $bpnum 2",
      "disable $bpnum",
    ]);
    assert.match(lines[8], /^# Breakpoint 6 has a condition that a script set/);
    assert.match(said, /Saved 5 breakpoints to file .*Left out, since a script set the condition: 6/);
    const listed = said.slice(said.indexOf("Num "));
    assert.match(listed, /^7 .*breakpoint .*inner[^]*stop only if \$rdi == 9[^]*print 6 \* 7/m);
    assert.match(listed, /^8 .*del {2}y/m);
    assert.match(listed, /^10 .*catchpoint[^]*stop only if \$value > 1/m);
    assert.match(listed, /^11 .*keep n .*physical[^]*ignore next 2 hits/m);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("gdb habits: return goes back to the caller with a value, from inner frames too; not out of the outermost", async () => {
  const said = await hvsh(`break inner
continue
stepi 2
return 0x1234
print/x $rax
print $rsp
up
return
info registers rip
`);
  // The call's next instruction, with the stack as the call found it.
  assert.match(said, /^#0 .*0x000000000020004d in middle\+0x10 \(\)$/m);
  assert.match(said, /= 0x1234$/m);
  assert.match(said, /^#0 .*in _start\+0x13 \(\)$/m);
  assert.match(said, /^rip .*_start\+0x13>$/m);
});

Deno.test("gdb habits: enable once, count and delete end at a stop", async () => {
  const said = await hvsh(`break inner
break middle
break outer
enable once 2
enable count 2 1
enable delete 3
info breakpoints
continue
continue
continue
continue
continue
info breakpoints
`);
  assert.equal(said.split("Breakpoint 1, ").length, 3, said);
  const [before, after] = said.split(/^Num /m).slice(1);
  assert.match(before, /^1 .*dis {2}y[^\n]*\n\tdisable after 2 more hits/m);
  assert.match(before, /^2 .*dis {2}y/m);
  assert.match(before, /^3 .*del {2}y/m);
  assert.match(after, /^1 .*keep n/m);
  assert.match(after, /^2 .*keep n/m);
  assert.doesNotMatch(after, /^3 /m);
});
