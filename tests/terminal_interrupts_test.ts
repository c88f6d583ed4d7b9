/** Ctrl-C in every state of the shell, and code of the user's that never returns: the prompt comes back each time. */
import assert from "node:assert/strict";
import { hosts } from "../mod.ts";
import { type Fixture, flat, left, start, test } from "./shell_terminal.ts";

/** What stands behind the answer `print` gave last; a busy machine may take its time. */
class Screen {
  #last = 1000;

  constructor(readonly f: Fixture) {}

  /** Waits for a line of the screen's newest part. */
  async line(pattern: string): Promise<void> {
    const since = this.#last === 1000 ? "" : `= ${this.#last}$[^]*`;
    await this.f.terminal.waitFor(new RegExp(`${since}^${pattern}$`, "m"), 60_000);
  }

  /** Waits for a line, then asks the prompt something that the screen has not shown yet. */
  async back(pattern: string): Promise<void> {
    await this.line(pattern);
    this.#last++;
    await this.f.terminal.waitFor(/^hvsh\[\w+\]> $(?![^]*^hvsh)/m, 60_000);
    await this.f.terminal.enter(`print ${this.#last - 1} + 1`);
    await this.f.terminal.waitFor(new RegExp(`^\\$\\d+ = ${this.#last}$`, "m"), 60_000);
  }
}

test("Ctrl-C ends a billion steps, and a module that waits", async (f) => {
  const { terminal } = f;
  const screen = new Screen(f);
  await Deno.writeTextFile(
    `${f.folder}/wait.ts`,
    `console.log("module" + " waits"); await new Promise(() => {});\n`,
  );
  await start(f, flat("ticks"));
  await terminal.enter("context off");
  await terminal.enter("stepi 1000000000");
  await screen.line("tick");
  await terminal.press("C-c");
  await screen.back(String.raw`Paused\.`);
  await terminal.enter("set $rip = 0x1000");
  await terminal.enter("nexti 1000000000");
  await screen.line("tick");
  await terminal.press("C-c");
  await screen.back(String.raw`Paused\.`);
  await terminal.enter("source wait.ts");
  await screen.line("module waits");
  await terminal.press("C-c");
  await screen.back("Interrupted.*");
  await terminal.press("C-d");
  await left(f, 0);
});

test("a condition, a device and a catch that never return are ended, and Ctrl-C meanwhile hurts nothing", async (f) => {
  const { terminal } = f;
  const screen = new Screen(f);
  await start(f, flat("ticks"));
  await terminal.enter("context off");
  await terminal.enter("tbreak *0x1003 if () => { console.log('judg' + 'ing'); for (;;); }");
  await terminal.enter("continue");
  await screen.line("judging");
  await terminal.press("C-c");
  await screen.back("Fault: the condition of breakpoint 1 did not return within 2 s and was ended");
  await terminal.enter("delete");
  await terminal.enter("device_del uart0");
  await terminal.enter(
    `device_add {name: "hole", ports: {start: 0x3f8, length: 8}, write() { console.log("tak" + "ing"); for (;;); }}`,
  );
  await terminal.enter("continue");
  await screen.line("taking");
  await terminal.press("C-c");
  await screen.back("Fault: device hole did not return within 2 s and was ended");
  await terminal.enter("out 0x3f8 1");
  await screen.back(
    "device hole did not return from a write of 1 byte at port 0x3f8 within 2 s and was ended",
  );
  await terminal.enter("device_del hole");
  await terminal.enter("catch port 0x3f8 if () => { for (;;); }");
  await terminal.enter("continue");
  await screen.back("Fault: .* did not return within 2 s and was ended");
  await terminal.enter("delete");
  await terminal.enter("continue &");
  await terminal.waitFor(/running\]> $/, 60_000);
  await terminal.enter("continue");
  await screen.line("continue: the guest is running");
  await terminal.press("C-c");
  await screen.back(String.raw`Paused\.`);
  await terminal.press("C-d");
  await left(f, 0);
});

test("Ctrl-C between commands, whenever it comes, does not leave the shell", async (f) => {
  const { terminal } = f;
  const screen = new Screen(f);
  await start(f, flat("ticks"));
  // What the terminal has not handed over when Ctrl-C comes it throws away: lines may be lost, the shell may not.
  for (let round = 0; round < 25; round++) {
    await terminal.enter(`print ${round}`);
    await terminal.press("C-c");
  }
  await screen.back(String.raw`hvsh\[\w+\]> `);
  await terminal.press("C-d");
  await left(f, 0);
});

/** The processes that have `pid` for their parent. */
async function childrenOf(pid: number): Promise<number[]> {
  const children = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
  return children.trim().split(" ").filter((text) => text !== "").map(Number);
}

/** The state of a process, as proc(5) has it: T is one that was stopped. */
async function stateOf(pid: number): Promise<string> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2)[0];
}

const qemu = (await hosts()).find(({ backend }) => backend === "qemu");
if (!qemu?.usable) console.log(`skipped: Ctrl-C and Ctrl-Z with QEMU: ${qemu?.reason}`);

if (qemu?.usable) {
  test("Ctrl-C stops a guest in QEMU and not QEMU; Ctrl-Z stops both, and fg lets both go on", async (f) => {
    const { terminal } = f;
    const screen = new Screen(f);
    await terminal.enter("exec bash --norc");
    await terminal.enter(`${f.hvsh} ${flat("ticks", "qemu")}`);
    await terminal.waitFor(/^hvsh.*> $/m, 60_000);
    const [program] = await childrenOf(await f.pid());
    await terminal.enter("context off");
    await terminal.enter("continue");
    await screen.line("tick");
    await terminal.press("C-c");
    await screen.back(String.raw`Paused\.`);
    await terminal.enter("continue");
    await screen.line("tick");
    await terminal.press("C-z");
    await terminal.waitFor(/Stopped/, 60_000);
    assert.equal(await stateOf(program), "T", "QEMU is stopped too");
    // What stood on the screen before is told from what comes after `fg`: a Ctrl-C before that is bash's.
    await terminal.enter("clear; echo after''wards; fg");
    await terminal.waitFor(/^afterwards$[^]*^tick$/m, 60_000);
    await terminal.press("C-c");
    await terminal.waitFor(/^Paused\.$/m, 60_000);
    await terminal.press("C-d");
    await terminal.enter("echo left");
    await terminal.waitFor(/^left$/m, 60_000);
  });
}
