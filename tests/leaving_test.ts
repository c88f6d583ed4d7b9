/** Ways out of the shell that once ended in a panic of Deno's, or in an abort. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../src/repl/main.ts", import.meta.url));
const CONFIG = fileURLToPath(new URL("../deno.json", import.meta.url));

function hvsh(...args: string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "--no-check", "--config", CONFIG, MAIN, ...args],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function end(child: Deno.ChildProcess): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await child.output();
  const decoder = new TextDecoder();
  const said = { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  assert.doesNotMatch(said.stderr, /panicked|overflow/);
  return said;
}

/** A module that never awaits, and an input that awaits what is there. */
const STUCK = [
  ["SIGTERM", "-x", fileURLToPath(new URL("stuck_module.ts", import.meta.url))],
  ["SIGQUIT", "-x", fileURLToPath(new URL("stuck_module.ts", import.meta.url))],
  ["SIGINT", "-c", "Deno.stdout.writeSync(new TextEncoder().encode('stuck')); for (;;) await 0"],
] as const;

Deno.test("leaving: SIGTERM while an input awaits what never comes", async () => {
  const child = hvsh(
    "-c",
    "process.stdout.write('waiting'); await new Promise(() => setInterval(() => {}, 1000))",
  );
  const reader = child.stdout.getReader();
  while (!new TextDecoder().decode((await reader.read()).value).includes("waiting"));
  reader.releaseLock();
  child.kill("SIGTERM");
  assert.equal((await end(child)).code, 143);
});

Deno.test("leaving: Deno.exit() in an input ends with its code", async () => {
  assert.equal((await end(hvsh("-c", "Deno.exit(5)"))).code, 5);
});

Deno.test("leaving: an input nested as deep as it likes is an error, not the end", async () => {
  for (const [open, close] of [["(", ")"], ["[", "]"], ["x=>", ""], ["`${", "}`"], ["Array<", ">"]]) {
    const { code, stderr } = await end(hvsh("-c", `void ${open.repeat(9000)}1${close.repeat(9000)}`));
    assert.equal(code, 1, open);
    assert.match(stderr, /nested too deeply|at most|expected/i, open);
  }
});

Deno.test("leaving: promises that an input left pending may be collected", async () => {
  const garbage = "for (let i = 0; i < 300; i++) new Array(100000).fill({})";
  const child = hvsh(
    ...["-c", "void (async () => { await new Promise(() => {}) })()"],
    ...["-c", garbage, "-c", garbage, "-c", "'alive'"],
  );
  const { code, stdout } = await end(child);
  assert.deepEqual([code, stdout.trim()], [0, '"alive"']);
});

Deno.test("leaving: a standard output that takes no more is told in a sentence, and fails", async () => {
  const full = async (...args: string[]) => {
    const words = [Deno.execPath(), "run", "-q", "-A", "--no-check", "--config", CONFIG, MAIN, ...args];
    const { code, stderr } = await new Deno.Command("sh", {
      args: ["-c", 'exec "$@" >/dev/full', "sh", ...words],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).output();
    return { code, stderr: new TextDecoder().decode(stderr) };
  };
  for (const args of [["-c", "help", "-c", "pwd"], ["--help"], ["--json", "-c", "1+1"]]) {
    const { code, stderr } = await full(...args);
    assert.equal(code, 1, args.join(" "));
    assert.equal(
      stderr,
      "hvsh: standard output can't be written: no space left on device\nnothing more is printed there\n",
    );
  }
  // An exit code of one's own stays.
  assert.equal((await full("-c", "help", "-c", "quit 7")).code, 7);
});

Deno.test("leaving: a sourced module whose import is missing is not said to be missing itself", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/there.ts`, 'import "./lost.ts";\n');
    const { code, stderr } = await end(hvsh("-x", `${folder}/there.ts`));
    assert.equal(code, 1);
    assert.match(stderr, /there\.ts imports file:.*\/lost\.ts, which is not there/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("leaving: a signal ends a script that is stuck", async () => {
  await Promise.all(STUCK.map(async ([signal, ...args]) => {
    const child = hvsh(...args);
    const reader = child.stdout.getReader();
    while (!new TextDecoder().decode((await reader.read()).value).includes("stuck"));
    reader.releaseLock();
    child.kill(signal);
    const { code, stderr } = await end(child);
    assert.equal(code, 137, signal);
    assert.match(stderr, /hvsh was ended while it was stuck/);
  }));
});

Deno.test("leaving: a command of the operating system that still runs ends with hvsh", async () => {
  const child = hvsh("-c", "shell echo runs && exec sleep 120");
  const reader = child.stdout.getReader();
  while (!new TextDecoder().decode((await reader.read()).value).includes("runs"));
  reader.releaseLock();
  const start = performance.now();
  child.kill("SIGTERM");
  // The command holds the other end of the pipe: this waits for it.
  assert.equal((await end(child)).code, 143);
  assert.ok(performance.now() - start < 100_000, "the command went on to its end");
});
