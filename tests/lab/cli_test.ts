/** `deno task lab` as a process: what it prints, how it ends, and that nothing of it survives. */
import assert from "node:assert/strict";
import { folderNames, labsFolder, qemuProcess, readRecord } from "./folder.ts";
import { whyNoLab } from "./shared.ts";
import { CHECKOUT } from "./start.ts";

const reason = whyNoLab("kvm");
if (reason !== null) console.error(`Tests of deno task lab are skipped: ${reason}.`);

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `deno task lab: ${name}`, ignore: reason !== null, fn });
}

/** The tool of this checkout, or of a copy. */
function lab(args: string[], options: { checkout?: string; cwd?: string } = {}): Deno.Command {
  const tool = `${options.checkout ?? CHECKOUT}/tools/lab.ts`;
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", "--no-config", tool, ...args],
    cwd: options.cwd,
    env: { INIT_CWD: options.cwd ?? CHECKOUT },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

async function output(command: Deno.Command): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await command.output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Resolves when the lab's QEMU runs. */
async function qemuOf(name: string): Promise<number> {
  while (true) {
    const folder = `${labsFolder()}/${name}`;
    const record = readRecord(folder);
    const pid = record && qemuProcess(folder, record);
    if (pid) return pid;
    await pause(50);
  }
}

/** Whether a process is gone; one that nobody has waited for has no command line. */
function gone(pid: number): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`) === "";
  } catch {
    return true;
  }
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

test("what it can't understand is said, with exit code 2", async () => {
  const cases: [string[], RegExp][] = [
    [["kvm", "true"], /A command goes after --/],
    [["kvm"], /No command/],
    [["kvm", "--memory", "lots", "--", "true"], /--memory takes a positive number/],
    [["vmware", "--", "true"], /no "lab vmware"/],
    [["kvm", "--colour", "--", "true"], /--colour/],
    [["exec", "--", "true"], /In which lab/],
  ];
  for (const [args, message] of cases) {
    const { code, stderr } = await output(lab(args));
    assert.equal(code, 2);
    assert.match(stderr, message);
  }
});

test("a lab that does not run: exit code 125, and where to look", async () => {
  const { code, stderr } = await output(lab(["exec", "no-such-lab", "--", "true"]));
  assert.equal(code, 125);
  assert.match(stderr, /no running lab no-such-lab[^]*deno task lab list/);
});

test("killed while the lab boots, it takes QEMU with it, and the next use sweeps the rest away", async () => {
  const child = lab(["kvm", "--name", "killed", "--", "true"]).spawn();
  const pid = await qemuOf("killed");
  child.kill("SIGKILL");
  await child.output();
  for (let n = 0; n < 100 && !gone(pid); n++) await pause(50);
  assert.ok(gone(pid), "QEMU survived");
  assert.doesNotMatch((await output(lab(["list"]))).stdout, /killed/);
  assert.ok(!folderNames().includes("killed"));
});

test("Ctrl-C reaches the command, whose exit code it gives back; then the lab is gone", async () => {
  const script = "trap 'echo interrupted; exit 9' INT; echo up; while :; do sleep 0.1; done";
  const child = lab(["kvm", "--name", "ctrl-c", "--", "sh", "-c", script]).spawn();
  const pid = await qemuOf("ctrl-c");
  let text = "";
  for await (const bytes of child.stdout) {
    text += new TextDecoder().decode(bytes);
    if (text === "up\n") child.kill("SIGINT");
  }
  assert.equal(text, "up\ninterrupted\n");
  assert.equal((await child.status).code, 9);
  assert.equal(await new Response(child.stderr).text(), "");
  assert.ok(gone(pid));
  assert.ok(!folderNames().includes("ctrl-c"));
});

test("from a checkout in a folder with blanks: a share that is written, and a kernel that panics", async () => {
  const folder = Deno.makeTempDirSync({ prefix: "hvsh, a copy " });
  try {
    const copy = `${folder}/the checkout`;
    await new Deno.Command("mkdir", { args: ["-p", `${copy}/tests`, `${copy}/tools`, `${folder}/my share`] })
      .output();
    await new Deno.Command("cp", { args: ["-r", `${CHECKOUT}/tests/lab`, `${copy}/tests/`] }).output();
    for (const name of ["lab.ts", "lab_terminal.ts"]) {
      Deno.copyFileSync(`${CHECKOUT}/tools/${name}`, `${copy}/tools/${name}`);
    }
    const script =
      `pwd; echo kept >'${folder}/my share/file'; echo lost >lost; sleep 1; echo c >/proc/sysrq-trigger`;
    const args = ["kvm", "--name", "blanks", "--share", "../my share", "--", "sh", "-c", script];
    const { code, stdout, stderr } = await output(lab(args, { checkout: copy, cwd: copy }));
    assert.equal(stdout, `${copy}\n`);
    assert.equal(Deno.readTextFileSync(`${folder}/my share/file`), "kept\n");
    assert.throws(() => Deno.statSync(`${copy}/lost`), Deno.errors.NotFound);
    assert.equal(code, 125);
    assert.match(stderr, /The lab's kernel panicked: Kernel panic - not syncing: sysrq/);
    assert.match(stderr, /lines of its console:\n[^]*\n {2}\| .*entry_SYSCALL_64/);
    assert.ok(!folderNames().includes("blanks"));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});
