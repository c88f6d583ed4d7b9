import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { flat, type GuestMachine, open, type OpenOptions } from "../src/dsl/mod.ts";
import { plainStyle } from "../src/repl/ansi.ts";
import { complete } from "../src/repl/completion.ts";
import type { Command } from "../src/repl/command.ts";
import { SHELL_COMMANDS } from "../src/repl/commands/shell.ts";
import { ShellError } from "../src/repl/error.ts";
import type { Output } from "../src/repl/output.ts";
import { Shell } from "../src/repl/shell.ts";
import { CommandTable } from "../src/repl/table.ts";

/** Output that is kept. */
class Kept implements Output {
  readonly terminal = false;
  readonly width = 80;
  text = "";
  get atLineStart(): boolean {
    return this.text === "" || this.text.endsWith("\n");
  }
  write(text: string): void {
    this.text += text;
  }
  take(): string {
    const text = this.text;
    this.text = "";
    return text;
  }
}

const row = (names: string[], run: Command["run"], more: Partial<Command> = {}): Command => ({
  names,
  group: "running",
  summary: `runs ${names[0]}`,
  usage: [names[0]],
  needsGuest: false,
  run,
  ...more,
});

const ROWS: Command[] = [
  ...SHELL_COMMANDS,
  row(["continue", "c"], async (session) => void await session.resume((vm) => vm.continue()), {
    needsGuest: true,
  }),
  row(["step", "s"], async (session) => void await session.resume((vm) => vm.step()), {
    needsGuest: true,
    repeats: true,
  }),
  row(["echo"], (_, { words }) => ({ text: words.join("|"), data: { words } }), {
    usage: ["echo [TEXT]"],
  }),
  row(["fail"], () => {
    throw new ShellError("It failed", "Do not run `fail`.");
  }),
  row(["hang"], () => new Promise(() => {})),
];

interface Fixture extends AsyncDisposable {
  readonly shell: Shell;
  readonly output: Kept;
  readonly errors: string[];
}

function fixture(
  options: { json?: boolean; jsonConsoleLimit?: number; guest?: OpenOptions } = {},
): Fixture {
  const output = new Kept();
  const errors: string[] = [];
  const shell = new Shell({
    options: options.guest ?? {},
    table: new CommandTable(ROWS),
    style: plainStyle,
    output,
    json: options.json ?? false,
    jsonConsoleLimit: options.jsonConsoleLimit,
    open: (wanted) => open(wanted),
    library: async () => ({ ...await import("../src/dsl/mod.ts") }),
    describeStop: (_, stop) =>
      Promise.resolve({ text: `Stopped: ${stop.kind}\n`, data: { kind: stop.kind } }),
    printError: (text) => errors.push(text),
  });
  return { shell, output, errors, [Symbol.asyncDispose]: () => shell.close() };
}

/** Prints "Hi\n" on COM1, counts in AX for a while, then spins for ever. */
const SPIN = Uint8Array.of(
  ...[0xba, 0xf8, 0x03], // mov dx, 0x3f8
  ...[0xb0, 0x48, 0xee], // mov al, 'H'; out dx, al
  ...[0xb0, 0x69, 0xee], // mov al, 'i'; out dx, al
  ...[0xb0, 0x0a, 0xee], // mov al, '\n'; out dx, al
  ...[0xeb, 0xfe], // jmp $
);

const spinning = (): OpenOptions => ({ backend: "fake", boot: flat(SPIN, { at: 0x1000 }), memory: 1 << 20 });

/** Waits until `condition` holds. */
async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    assert.ok(performance.now() < end, "it did not happen within 10 s");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

Deno.test("shell: commands and TypeScript share a line's scope", async () => {
  await using f = fixture();
  await f.shell.execute(`echo "a b" c; echo d # comment`);
  assert.equal(f.output.take(), "a b|c\nd\n");
  await f.shell.execute("const answer = 0x2an");
  await f.shell.execute("answer * 2n");
  assert.equal(f.output.take(), "0x54\n");
  await f.shell.execute("_ + 1n; ");
  assert.equal(f.output.take(), "0x55\n");
  await f.shell.execute("const echo = 1");
  assert.match(f.output.take(), /`echo` is also a command/);
  await f.shell.execute("= echo");
  assert.equal(f.output.take(), "1\n");
  await f.shell.execute("echo still a command");
  assert.equal(f.output.take(), "still|a|command\n");
});

Deno.test("shell: what is wrong is told with what to do", async () => {
  await using f = fixture();
  await assert.rejects(f.shell.execute("echoo hello"), (error) => {
    assert.ok(error instanceof ShellError);
    assert.match(error.message, /`echoo` is neither a command nor a variable/);
    assert.match(error.remedy ?? "", /Did you mean `echo`\?/);
    return true;
  });
  await assert.rejects(f.shell.execute("continue"), /There is no guest for `continue`/);
  await assert.rejects(f.shell.execute("help nothing"), /no command `nothing`/);
  await assert.rejects(f.shell.execute("source /no/such/file"), /can't be read: there is no such file/);
  f.shell.report(await f.shell.execute("(() => { throw new TypeError('mine') })()").catch((e) => e));
  assert.match(f.errors.join(""), /^TypeError: mine\n {4}at <anonymous>:1:\d+/);
  assert.doesNotMatch(f.errors.join(""), /Session\.post|ext:/);
});

Deno.test("shell: --json prints one object a line", async () => {
  await using f = fixture({ json: true, guest: spinning() });
  await f.shell.execute("echo a; 2n ** 64n; [1n, { b: undefined }]");
  f.shell.report(await f.shell.execute("fail").catch((e) => e), "fail");
  await f.shell.open();
  await f.shell.execute("step");
  const lines = f.output.take().trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines, [
    { command: "echo a", data: { words: ["a"] } },
    { command: "2n ** 64n; [1n, { b: undefined }]", data: ["0x1", {}] },
    { command: "fail", error: "It failed", remedy: "Do not run `fail`." },
    { command: "step", data: { kind: "step" } },
  ]);
  assert.deepEqual(f.errors, []);
});

Deno.test("shell: a guest is opened, runs, prints, and Ctrl-C stops it", async () => {
  await using f = fixture({ guest: spinning() });
  assert.equal(f.shell.prompt, "hvsh> ");
  const vm = await f.shell.open();
  assert.equal(f.shell.prompt, "hvsh[fake]> ");
  const run = f.shell.foreground(() => f.shell.execute("c"));
  await until(() => f.output.text.includes("Hi\n"));
  assert.equal(f.shell.prompt, "hvsh[fake running]> ");
  assert.equal(f.shell.interrupt(), true);
  await run;
  assert.equal(vm.state, "paused");
  assert.equal(f.output.take(), "Hi\nStopped: pause\n");
  assert.equal(f.shell.interrupt(), false, "nothing runs, nothing to interrupt");
});

Deno.test("shell: `c &` leaves the prompt usable, and the stop is told when it comes", async () => {
  await using f = fixture({ guest: spinning() });
  await f.shell.open();
  await f.shell.execute("c &; echo meanwhile");
  assert.match(f.output.take(), /meanwhile/);
  await until(() => f.shell.vm?.state === "running");
  await assert.rejects(f.shell.foreground(() => f.shell.execute("c")), { name: "StateError" });
  assert.equal(f.shell.interrupt(), true);
  await until(() => f.output.text.includes("Stopped: pause\n"));
});

Deno.test("shell: a run started from TypeScript is told too, and Ctrl-C pauses it", async () => {
  await using f = fixture({ guest: spinning() });
  await f.shell.open();
  await f.shell.execute("let run = vm.continue()");
  await until(() => f.output.text.includes("Hi\n"));
  f.shell.interrupt();
  await until(() => f.output.text.includes("Stopped: pause\n"));
  await f.shell.execute("(await run).kind");
  assert.match(f.output.take(), /"pause"/);
  await f.shell.execute("await vm.step()");
  assert.equal(f.output.take(), "Stopped: step\n");
});

Deno.test("shell: Ctrl-C lets go of what does not end", async () => {
  await using f = fixture();
  const work = f.shell.foreground(() => f.shell.execute("hang"));
  await Promise.resolve();
  assert.equal(f.shell.interrupt(), true);
  await assert.rejects(work, /^ShellError: Interrupted/);
  const waiting = f.shell.foreground(() => f.shell.execute("await new Promise(() => {})"));
  await new Promise((resolve) => setTimeout(resolve, 50));
  f.shell.interrupt();
  await assert.rejects(waiting, /Interrupted/);
});

Deno.test("shell: registers by name in TypeScript", async () => {
  await using f = fixture({ guest: spinning() });
  const vm = await f.shell.open();
  await f.shell.execute("$rip");
  assert.equal(f.output.take(), `0x${(await vm.vcpus[0].registers()).rip.toString(16)}\n`);
  await f.shell.execute("$rax = 0x1234n; [$ah, $eax]");
  assert.match(f.output.take(), /0x12n, 0x1234n/);
  assert.equal((await vm.vcpus[0].registers()).rax, 0x1234n);
  await f.shell.execute("$al = 0xff; await vm.step(); [$rax, $dx]");
  assert.match(f.output.take(), /0x12ffn, 0x3f8n/);
  await assert.rejects(f.shell.execute("$rax = 'no'"));
  await assert.rejects(f.shell.execute("$nothing"), /nothing/);
});

Deno.test("shell: open() at the prompt makes the session's guest, and closing closes it", async () => {
  const f = fixture();
  await f.shell.execute(`const mine = await open({ backend: "fake", memory: MiB(1) })`);
  const vm = f.shell.vm as GuestMachine | undefined;
  assert.equal(vm?.state, "paused");
  await f.shell.execute("mine === vm");
  assert.equal(f.output.take(), "true\n");
  await f.shell.close();
  assert.equal(vm?.state, "closed");
  assert.equal("vm" in globalThis, false, "the scope is taken away again");
});

Deno.test("shell: files of commands and of TypeScript", async () => {
  await using f = fixture({ guest: spinning() });
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/lib.ts`, "export const five: number = 5;\n");
    await Deno.writeTextFile(
      `${folder}/all.hvsh`,
      "# comment\necho one\nfunction twice(\n  n: number,\n) { return 2 * n }\nimport { five } from './lib.ts'\n= twice(five)\n",
    );
    await f.shell.execute(`source ${folder}/all.hvsh`);
    assert.equal(f.output.take(), "one\n10  0xa\n");
    await Deno.writeTextFile(`${folder}/bad.hvsh`, "echo one\n\nfail\necho never\n");
    await assert.rejects(f.shell.execute(`source ${folder}/bad.hvsh`), /bad\.hvsh:3: It failed/);
    assert.equal(f.output.take(), "one\n");
    await Deno.writeTextFile(`${folder}/self.hvsh`, `source ${folder}/self.hvsh\n`);
    await assert.rejects(f.shell.execute(`source ${folder}/self.hvsh`), /sources itself/);
    await f.shell.open();
    await Deno.writeTextFile(
      `${folder}/module.ts`,
      `import { five } from "./lib.ts";\n(globalThis as Record<string, unknown>).seen = five;\n` +
        `export default async (vm: { step(n: number): Promise<unknown> }) => { await vm.step(five); };\n`,
    );
    await f.shell.foreground(() => f.shell.execute(`source ${folder}/module.ts`));
    assert.equal(f.output.take(), "Hi", "its steps are its own to tell");
    await f.shell.execute("[seen, $rip]");
    assert.equal(f.output.take(), "[ 5, 0x1009n ]\n");
    await assert.rejects(f.shell.execute(`source ${folder}/none.ts`), /There is no file/);
  } finally {
    Reflect.deleteProperty(globalThis, "seen");
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("shell: completion of commands, arguments, registers, names and members", async () => {
  await using f = fixture({ guest: spinning() });
  await f.shell.open();
  const offered = async (line: string) => {
    const [candidates, replaced] = await complete(f.shell, line);
    return candidates.map((candidate) => line.slice(0, line.length - replaced.length) + candidate);
  };
  assert.deepEqual(await offered("conti"), ["continue"]);
  assert.deepEqual(await offered("echo a; conti"), ["echo a; continue"]);
  assert.deepEqual(await offered("help st"), ["help step"]);
  assert.ok((await offered("echo $ri")).includes("echo $rip"));
  // Members are asked for with a limit of 100 ms, which a busy host may miss.
  let members = await offered("vm.sta");
  for (let tries = 0; tries < 50 && members.length === 0; tries++) members = await offered("vm.sta");
  assert.deepEqual(members, ["vm.state"]);
  assert.ok((await offered("await vm.")).includes("await vm.continue"));
  assert.ok((await offered("segm")).includes("segmented"));
  await f.shell.execute("let touched = 0; const trap = { get inside() { touched++; return {} } }");
  assert.deepEqual(await offered("trap.inside."), []);
  await f.shell.execute("touched");
  assert.equal(f.output.take(), "0\n");
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/script.ts`, "");
    assert.deepEqual(await offered(`source ${folder}/scr`), [`source ${folder}/script.ts`]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("shell: quit ends a line, with its code", async () => {
  await using f = fixture();
  await f.shell.execute("quit 3; echo never");
  assert.equal(f.shell.exitCode, 3);
  assert.equal(f.output.take(), "");
  await assert.rejects(
    f.shell.execute("quit 300").then(() => fixture().shell.execute("quit 300")),
    /no exit code/,
  );
});

Deno.test("shell: help is printed from the rows, and apropos searches them", async () => {
  await using f = fixture();
  await f.shell.execute("help");
  for (const { names } of ROWS) assert.ok(f.output.text.includes(names[0]), names[0]);
  f.output.take();
  await f.shell.execute("help s");
  assert.match(f.output.take(), /^step {2}\(also s\): runs step\n {2}step\n$/);
  await f.shell.execute("apropos TypeScript module");
  assert.match(f.output.take(), /source/);
});

Deno.test("JSON: what the guest printed has a bound, and what was dropped is told", async () => {
  // mov dx, 0x3f8; mov cx, 100; mov al, 'a'; out dx, al; loop; mov al, 'z'; out dx, al; cli; hlt
  const code = [0xba, 0xf8, 3, 0xb9, 100, 0, 0xb0, 0x61, 0xee, 0xe2, 0xfd, 0xb0, 0x7a, 0xee, 0xfa, 0xf4];
  await using f = fixture({
    json: true,
    jsonConsoleLimit: 16,
    guest: { backend: "fake", boot: flat(Uint8Array.from(code)) },
  });
  await f.shell.open();
  await f.shell.execute("continue");
  const line = JSON.parse(f.output.take());
  assert.equal(line.console, `${"a".repeat(15)}z`);
  assert.equal(line.consoleDropped, 85);
  await f.shell.execute("echo");
  assert.equal("consoleDropped" in JSON.parse(f.output.take()), false);
});

Deno.test("answers and errors have nothing in them that a terminal obeys", async () => {
  await using f = fixture();
  f.shell.print("name \x1b[2J\x1b]0;mine\x07");
  f.shell.report(new ShellError("console: \x1b[2J", "\u009b2J"));
  const text = f.output.take() + f.errors.join("");
  assert.equal(text, "name \\x1b[2J\\x1b]0;mine\\x07\nconsole: \\x1b[2J\n\\x9b2J\n");
});

Deno.test("shell: what follows a command in the background meets a guest that runs", async () => {
  await using f = fixture({ guest: spinning() });
  await f.shell.open();
  await f.shell.execute("continue &");
  assert.equal(f.shell.vm?.state, "running");
  await assert.rejects(f.shell.execute("step"), /step: the guest is running/);
  await f.shell.vm?.pause();
});
