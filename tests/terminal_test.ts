/** The shell under a real terminal: typing, Ctrl-C, output while typing, and every way out. */
import assert from "node:assert/strict";
import { flat, KVM, left, start, test } from "./shell_terminal.ts";

test("Ctrl-C for code that gives nothing a turn is for that code, not for the shell", async (f) => {
  const { terminal } = f;
  await start(f, "");
  await terminal.enter("set limit 2");
  await terminal.enter(`process.stdout.write("go\\n"); while (true) {}`);
  await terminal.waitFor(/^go$/m);
  await terminal.press("C-c");
  await terminal.waitFor(/^Interrupted[^]*^hvsh> $/m);
  await terminal.enter("6 * 7");
  await terminal.waitFor(/^42 {2}0x2a$/m);
  await terminal.press("C-d");
  await left(f, 0);
});

test("Ctrl-C lets go of an await, and what it waited for may be collected", async (f) => {
  const { terminal } = f;
  await start(f, "");
  await terminal.enter(`process.stdout.write("go\\n"); await new Promise(() => {})`);
  await terminal.waitFor(/^go$/m);
  await terminal.press("C-c");
  await terminal.waitFor(/^Interrupted[^]*^hvsh> $/m);
  await terminal.enter("for (let i = 0; i < 300; i++) new Array(100000).fill({}); 6 * 7");
  await terminal.waitFor(/^42 {2}0x2a$/m);
  await terminal.press("C-d");
  await left(f, 0);
});

test("typing, history, completion, and leaving by Ctrl-D", async (f) => {
  const { terminal } = f;
  await start(f, "");
  await terminal.enter("const answer: number = 6 * 7");
  await terminal.enter("answer");
  await terminal.waitFor(/^42 {2}0x2a$/m);
  await terminal.press("Up", "Up");
  await terminal.waitFor(/> const answer: number = 6 \* 7$/);
  await terminal.press("C-c");
  await terminal.type("apro");
  await terminal.press("Tab");
  await terminal.waitFor(/^hvsh> apropos$/m);
  await terminal.enter(" typescript");
  await terminal.waitFor(/^ {2}source/m);
  await terminal.enter("answer.toFix");
  await terminal.waitFor(/^undefined|^hvsh> $/m);
  await terminal.type("answer.toEx");
  await terminal.press("Tab");
  await terminal.waitFor(/answer\.toExponential/);
  await terminal.press("C-c");
  await terminal.enter("function twice(n: number) {");
  await terminal.waitFor(/^\.\.\. $/m);
  await terminal.enter("return 2 * n }");
  await terminal.enter("twice(21)");
  await terminal.waitFor(/^42 {2}0x2a[^]*^42 {2}0x2a/m);
  await terminal.press("C-d");
  await left(f, 0);
  const history = await Deno.readTextFile(`${f.folder}/state/hvsh/history`);
  assert.match(history, /^answer$/m);
  assert.match(history, /^function twice\(n: number\) \{ return 2 \* n \}$/m);
  const { mode } = await Deno.stat(`${f.folder}/state/hvsh/history`);
  assert.equal((mode ?? 0) & 0o777, 0o600);
});

for (const backend of KVM ? ["kvm", "fake"] : ["fake"]) {
  test(`Ctrl-C stops a spinning guest on ${backend} and never ends the shell`, async (f) => {
    const { terminal } = f;
    await start(f, flat("spin", backend));
    for (let round = 0; round < 2; round++) {
      await terminal.press("C-l");
      await terminal.enter("continue");
      await terminal.waitFor(/continue$/);
      await new Promise((resolve) => setTimeout(resolve, 300));
      await terminal.press("C-c");
      await terminal.waitFor(/^hvsh\[\w+\]> $(?![^]*^hvsh\[\w+\]> )/m);
      await terminal.enter(`"round " + ${round}`);
      await terminal.waitFor(new RegExp(`^"round ${round}"$`, "m"));
    }
    await terminal.press("C-c");
    await terminal.press("C-c");
    await terminal.enter("vm.state");
    await terminal.waitFor(/^"paused"$/m);
    await terminal.enter("quit 3");
    await left(f, 3);
  });
}

test("what a guest prints while a line is typed goes above it", async (f) => {
  const { terminal } = f;
  await start(f, flat("ticks"));
  await terminal.enter("continue &");
  await terminal.waitFor(/^tick$/m);
  await terminal.type("[1, 2, ");
  const ticks = (await terminal.screen()).match(/^tick$/gm)?.length ?? 0;
  // More lines come meanwhile, and the one that is typed stays whole, below them.
  const screen = await terminal.waitFor(
    new RegExp(`(^tick\\n[^]*){${ticks + 2}}^hvsh\\[\\w+ running\\]> \\[1, 2,`, "m"),
  );
  assert.doesNotMatch(screen, /\[1, 2,.*tick|tick.*hvsh|^tick\S/m);
  await terminal.enter("3].length");
  await terminal.waitFor(/^3$/m);
  await terminal.press("C-c");
  await terminal.waitFor(/^hvsh\[\w+\]> $/m);
  await terminal.press("C-d");
  await left(f, 0);
});

test("leaving while the guest runs", async (f) => {
  await start(f, flat("spin"));
  await f.terminal.enter("continue &");
  await f.terminal.waitFor(/^hvsh\[\w+ running\]> $/m);
  await f.terminal.press("C-d");
  await left(f, 0);
});

for (const [signal, number] of [["SIGTERM", 15], ["SIGHUP", 1]] as const) {
  test(`${signal} at the prompt and in a run`, async (f) => {
    await start(f, flat("spin"));
    Deno.kill(await f.pid(), signal);
    await left(f, 128 + number);
    await f.terminal.enter("clear");
    await start(f, flat("spin"));
    await f.terminal.enter("continue");
    await new Promise((resolve) => setTimeout(resolve, 300));
    Deno.kill(await f.pid(), signal);
    await left(f, 128 + number);
  });
}

test("closing the terminal ends the shell", async (f) => {
  await start(f, flat("spin"));
  await f.terminal.enter("continue");
  const pid = await f.pid();
  assert.ok(pid > 0);
  await f.terminal[Symbol.asyncDispose]();
  const end = performance.now() + 10_000;
  for (;;) {
    const alive = await Deno.stat(`/proc/${pid}`).then(() => true, () => false);
    if (!alive) break;
    assert.ok(performance.now() < end, "the shell is still there");
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
});

test("errors that nobody caught are told, and the shell goes on", async (f) => {
  await start(f, "");
  await f.terminal.enter("setTimeout(() => { throw new Error('late') }, 10); 1");
  await f.terminal.waitFor(/^Error: late$/m);
  await f.terminal.enter("void Promise.reject(new Error('lost')); 2");
  await f.terminal.waitFor(/^Error: lost$/m);
  await f.terminal.enter("40 + 2");
  await f.terminal.waitFor(/^42 {2}0x2a$/m);
  await f.terminal.enter("q");
  await left(f, 0);
});

test("code that never gives a turn: Ctrl-C tells how to leave, once more leaves", async (f) => {
  await start(f, "");
  await f.terminal.enter("for (;;) await 0");
  await new Promise((resolve) => setTimeout(resolve, 500));
  await f.terminal.press("C-c");
  await f.terminal.waitFor(/Ctrl-C once more ends hvsh/);
  await f.terminal.press("C-c");
  await left(f, 128 + 9);
});

test("pasted lines are run one after the other", async (f) => {
  await start(f, "");
  await f.terminal.paste("const pasted = [\n  1,\n  2,\n]\npasted.length\n");
  await f.terminal.waitFor(/^2$/m);
  await f.terminal.enter("quit");
  await left(f, 0);
});

for (const [name, environment] of [["NO_COLOR", { NO_COLOR: "1" }], ["a terminal", {}]] as const) {
  const colors = name !== "NO_COLOR";
  test(`${name}: ${colors ? "colours" : "no colours"}`, async (f) => {
    await start(f, "");
    await f.terminal.enter("help");
    await f.terminal.waitFor(/^Shell$/m);
    assert.equal(await f.terminal.isColored(), colors);
    await f.terminal.enter("quit");
    await left(f, 0);
  }, environment);
}

/** Reads COM1 and prints what it read, with 1 added. */
const ECHO = Uint8Array.of(
  ...[0xba, 0xfd, 0x03], // mov dx, 0x3fd
  ...[0xec, 0xa8, 0x01, 0x74, 0xfb], // in al, dx; test al, 1; jz back
  ...[0xba, 0xf8, 0x03, 0xec, 0x40, 0xee], // mov dx, 0x3f8; in al, dx; inc ax; out dx, al
  ...[0xeb, 0x100 - 16], // jmp to the first mov
);

test("keys typed while the guest runs are for the prompt that follows, Ctrl-C or not", async (f) => {
  const { terminal } = f;
  await start(f, flat("ticks"));
  await terminal.enter("context off");
  await terminal.enter("continue");
  await terminal.waitFor(/^tick$/m);
  await terminal.enter("print 6 * 7");
  await terminal.type("print 2 +");
  // What the shell has not read yet goes with the Ctrl-C, the terminal drops it. On a slow host each tick is many turns
  // to read in, on a quick one they are over before the first.
  const ticks = (await terminal.screen()).split(/^tick$/m).length;
  await terminal.waitFor(new RegExp(`^(?:tick\\s+){${ticks + 2}}`, "m"), 60_000);
  await new Promise((resolve) => setTimeout(resolve, 1000));
  await terminal.press("C-c");
  await terminal.waitFor(/Paused[^]*> print 6 \* 7\n\$1 = 42\n[^]*> print 2 \+$/);
  await terminal.enter(" 5");
  await terminal.waitFor(/^\$2 = 7$/m);
  await terminal.press("C-d");
  await left(f, 0);
});

test("serial hands the keys to the guest's console, until Ctrl-]", async (f) => {
  const { terminal } = f;
  await Deno.writeFile(`${f.folder}/echo.bin`, ECHO);
  await start(f, flat("echo"));
  await terminal.enter("context off");
  await terminal.enter("serial");
  await terminal.waitFor(/Ctrl-\] gives it back/);
  await terminal.type("HAL");
  await terminal.waitFor(/^IBM$/m);
  await terminal.press("C-]");
  await terminal.waitFor(/Paused[^]*> $/);
  await terminal.enter("continue &");
  await terminal.enter("console attach");
  await terminal.type("HAM");
  await terminal.waitFor(/^IBN$/m);
  await terminal.press("C-]");
  await terminal.waitFor(/running\]> $/);
  await terminal.enter("interrupt");
  await terminal.press("C-d");
  await left(f, 0);
});

test("Ctrl-] and Ctrl-\\ that come after `serial` has ended by itself are no part of the next line", async (f) => {
  const { terminal } = f;
  await start(f, "");
  await terminal.press("C-]", "C-\\");
  await terminal.enter("6 * 7");
  await terminal.waitFor(/^42 {2}0x2a$/m);
  await terminal.press("C-d");
  await left(f, 0);
});

test("a terminal is no file of commands: it would take the keys from the prompt", async (f) => {
  const { terminal } = f;
  await start(f, "");
  await terminal.enter("source /dev/tty");
  await terminal.waitFor(/^\/dev\/tty is a terminal$/m);
  await terminal.enter("6 * 7");
  await terminal.waitFor(/^42 {2}0x2a$/m);
  await terminal.press("C-d");
  await left(f, 0);
});

test("Ctrl-R finds older lines", async (f) => {
  const { terminal } = f;
  await start(f, "");
  for (const line of ["print 11 + 1", "print 22", "print 11 + 2", "print 33"]) await terminal.enter(line);
  await terminal.waitFor(/^\$4 = 33$/m);
  await terminal.press("C-r");
  await terminal.type("11");
  await terminal.waitFor(/\(reverse-i-search\)`11': print 11 \+ 2$/);
  await terminal.press("C-r");
  await terminal.waitFor(/\(reverse-i-search\)`11': print 11 \+ 1$/);
  await terminal.type("x");
  await terminal.waitFor(/\(failed reverse-i-search\)`11x'/);
  await terminal.press("BSpace");
  await terminal.press("Enter");
  await terminal.waitFor(/^\$5 = 13$/m);
  await terminal.type("half");
  await terminal.press("C-r");
  await terminal.type("22");
  await terminal.waitFor(/: print 22$/);
  await terminal.press("C-g");
  await terminal.waitFor(/^hvsh> half$/m);
  await terminal.press("C-c", "C-d");
  await left(f, 0);
});

test("Ctrl-Z stops it, also below deno task, and fg goes on, while a line is typed and while a guest runs", async (f) => {
  const { terminal } = f;
  await terminal.enter("exec bash --norc");
  await terminal.enter("stty -a > before");
  const config = JSON.stringify({ tasks: { shell: `${f.hvsh} ${flat("ticks")}` } });
  await Deno.writeTextFile(`${f.folder}/deno.json`, config);
  await terminal.enter(`${Deno.execPath()} task -q shell`);
  await terminal.waitFor(/^hvsh.*> $/m);
  await terminal.enter("context off");
  await terminal.waitFor(/^hvsh.*> context off\n+hvsh.*> $/m);
  await terminal.type("print 6");
  // What a terminal has not handed over when Ctrl-Z comes, it throws away.
  await terminal.waitFor(/^hvsh.*> print 6$/m);
  await terminal.press("C-z");
  await terminal.waitFor(/Stopped/);
  await terminal.enter("stty -a > after; fg");
  await terminal.waitFor(/Stopped[^]*^hvsh.*> print 6$/m);
  await terminal.enter(" * 7");
  await terminal.waitFor(/^\$1 = 42\n+hvsh.*> $/m);
  await terminal.enter("continue");
  await terminal.waitFor(/^tick\ntick$/m);
  await terminal.press("C-z");
  await terminal.waitFor(/Stopped[^]*Stopped/);
  await terminal.enter("stty -a > again; fg");
  await terminal.waitFor(/fg\n[^]*fg\n[^]*^tick\ntick$/m);
  await terminal.press("C-c");
  await terminal.waitFor(/Paused[^]*> $/);
  await terminal.press("C-d");
  // What is typed before it has left is the shell's to read.
  await terminal.waitFor(/hvsh.*> \n+bash.*# $/);
  await terminal.enter("echo left");
  await terminal.waitFor(/^left$/m);
  const [before, ...others] = await Promise.all(
    ["before", "after", "again"].map((name) => Deno.readTextFile(`${f.folder}/${name}`)),
  );
  for (const other of others) assert.equal(other, before);
});
