/** The KVM lab as its users meet it. All tests share one. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { LabError } from "./errors.ts";
import { qemuProcess } from "./folder.ts";
import { sharedLab } from "./shared.ts";
import { CHECKOUT } from "./start.ts";

const kvm = sharedLab("kvm");

/** Runs `use` with a folder of this test's own on the host. */
async function withFolder(where: string, use: (folder: string) => Promise<void>): Promise<void> {
  Deno.mkdirSync(where, { recursive: true });
  const folder = Deno.makeTempDirSync({ dir: where, prefix: "a folder, with 'blanks' " });
  try {
    await use(folder);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `kvm lab: ${name}`, ignore: kvm.ignore, fn });
}

test("it is a kvm_amd host, of which root sees the checkout, Deno and /dev/kvm", async () => {
  const lab = await kvm.get();
  const script = `id -u; pwd; test -c /dev/kvm && echo kvm; grep -o kvm_amd /proc/modules | head -1
    cat /sys/module/kvm_amd/parameters/npt; deno eval 'console.log(Deno.version.deno)'`;
  const { code, stdout, stderr } = await lab.output(["sh", "-c", script]);
  assert.equal(stderr, "");
  assert.deepEqual(stdout.split("\n"), ["0", Deno.cwd(), "kvm", "kvm_amd", "Y", Deno.version.deno, ""]);
  assert.equal(code, 0);
});

test("exit codes come back as they are", async () => {
  const lab = await kvm.get();
  assert.equal((await lab.exec(["true"])).code, 0);
  assert.equal((await lab.exec(["sh", "-c", "exit 37"])).code, 37);
  assert.equal((await lab.exec(["sh", "-c", "kill -KILL $$"])).code, 137);
  const missing = await lab.output(["no-such-program"]);
  assert.equal(missing.code, 127);
  assert.match(missing.stderr, /Could not run no-such-program/);
});

test("output comes while the command runs, with or without a newline", async () => {
  const lab = await kvm.get();
  let heard = "";
  let end: (name: Deno.Signal) => void = () => {};
  // The command ends only by the signal that its first output causes.
  const { code } = await lab.exec(["sh", "-c", "printf no-newline; sleep 600"], {
    started: (command) => end = command.end,
    stdout: (bytes) => {
      heard += new TextDecoder().decode(bytes);
      end("SIGTERM");
    },
    timeoutMs: 60_000,
  });
  assert.deepEqual([heard, code], ["no-newline", 143]);
});

test("100 MB of output arrive whole", async () => {
  const lab = await kvm.get();
  let count = 0, wrong = 0;
  const zeros = new Uint8Array(64 * 1024);
  const { code } = await lab.exec(["head", "-c", "100000000", "/dev/zero"], {
    stdout: (bytes) => {
      count += bytes.length;
      if (Buffer.compare(bytes, zeros.subarray(0, bytes.length)) !== 0) wrong++;
    },
  });
  assert.deepEqual([code, count, wrong], [0, 100_000_000, 0]);
});

test("a command reads standard input, more than any buffer holds", async () => {
  const lab = await kvm.get();
  const input = "0123456789abcde\n".repeat(100_000);
  const { stdout } = await lab.output(["sh", "-c", "sleep 0.5; md5sum"], { input });
  const digest = new Deno.Command("md5sum", { stdin: "piped", stdout: "piped" }).spawn();
  const writer = digest.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  assert.equal(stdout, new TextDecoder().decode((await digest.output()).stdout));
});

test("a command that leaves its standard input open and unread ends all the same", async () => {
  const lab = await kvm.get();
  const never = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) });
  assert.equal((await lab.exec(["true"], { stdin: never })).code, 0);
});

test("a command whose time is over is ended, and killed when it ignores SIGTERM", async () => {
  const lab = await kvm.get();
  assert.deepEqual(await lab.exec(["sleep", "600"], { timeoutMs: 300 }), { code: 143, timedOut: true });
  let end: (name: Deno.Signal) => void = () => {};
  // Only once it has said so is the trap set.
  const stubborn = await lab.exec(["sh", "-c", "trap '' TERM INT HUP; echo up; while :; do sleep 1; done"], {
    started: (command) => end = command.end,
    stdout: () => end("SIGTERM"),
  });
  assert.equal(stubborn.code, 137);
});

test("several commands run at once, and one too many is refused with a remedy", async () => {
  const lab = await kvm.get();
  const ends: ((name: Deno.Signal) => void)[] = [];
  const up = Array.from({ length: 4 }, () => Promise.withResolvers<void>());
  const all = up.map(({ resolve }, n) =>
    lab.exec(["sh", "-c", `echo ${n}; sleep 600`], {
      started: (command) => ends.push(command.end),
      stdout: () => resolve(),
    })
  );
  await Promise.all(up.map(({ promise }) => promise));
  await assert.rejects(
    lab.exec(["true"]),
    (error) => error instanceof LabError && /All 4/.test(error.message),
  );
  ends.forEach((end) => end("SIGTERM"));
  assert.deepEqual((await Promise.all(all)).map(({ code }) => code), [143, 143, 143, 143]);
});

test("the host's files can be read and not changed; what is written inside stays inside", async () => {
  const lab = await kvm.get();
  await withFolder("/tmp", async (folder) => {
    Deno.writeTextFileSync(`${folder}/file`, "outside");
    const script = "cat file; echo inside >file; echo new >other; cat file";
    const { stdout } = await lab.output(["sh", "-c", script], { cwd: folder });
    assert.equal(stdout, "outsideinside\n");
    assert.equal(Deno.readTextFileSync(`${folder}/file`), "outside");
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["file"]);
  });
});

test("a file of the checkout edited outside is seen by the next command, even within one second and one size", async () => {
  const lab = await kvm.get();
  await withFolder(`${CHECKOUT}/.cache`, async (folder) => {
    const seen = async () => (await lab.output(["sh", "-c", "cat *"], { cwd: folder })).stdout;
    for (const text of ["one", "two", "three", "seven"]) {
      Deno.writeTextFileSync(`${folder}/edited`, text);
      assert.equal(await seen(), text);
    }
    Deno.renameSync(`${folder}/edited`, `${folder}/moved`);
    assert.equal(await seen(), "seven");
    Deno.writeTextFileSync(`${folder}/another`, "x");
    assert.equal(await seen(), "xseven");
    Deno.removeSync(`${folder}/moved`);
    assert.equal(await seen(), "x");
  });
});

test("a command on a terminal sees one", async () => {
  const lab = await kvm.get();
  const { stdout, code } = await lab.output(["sh", "-c", "tty; stty size; exit 4"], {
    terminal: { columns: 101, rows: 31 },
    input: "",
  });
  assert.match(stdout, /\/dev\/pts\/\d+\r\n31 101\r\n/);
  assert.equal(code, 4);
});

test("a client that is killed leaves the lab usable, its command gone", async () => {
  const lab = await kvm.get();
  const cli = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      "--quiet",
      `${CHECKOUT}/tools/lab.ts`,
      "exec",
      lab.name,
      "--",
      "yes",
      "marker",
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const reader = cli.stdout.getReader();
  assert.equal((await reader.read()).done, false);
  cli.kill("SIGKILL");
  await cli.status;
  await reader.cancel();
  const { stdout } = await lab.output(["sh", "-c", "sleep 3; pgrep -fc '^yes marker'; echo done"]);
  assert.equal(stdout, "0\ndone\n");
});

// The last one: the lab does not survive it.
test("when QEMU is killed, the command's caller is told, and stopping the lab removes what is left", async () => {
  const lab = await kvm.get();
  const pid = qemuProcess(lab.folder, lab.record);
  assert.ok(pid);
  const lost = lab.exec(["sh", "-c", "echo up; sleep 600"], { stdout: () => Deno.kill(pid, "SIGKILL") });
  await assert.rejects(
    lost,
    (error) => error instanceof LabError && /its QEMU was killed/.test(error.message),
  );
  assert.equal(qemuProcess(lab.folder, lab.record), null);
  await lab.stop();
  assert.throws(() => Deno.statSync(lab.folder), Deno.errors.NotFound);
});
