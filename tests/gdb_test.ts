/** Debian's gdb and lldb drive the C kernel, from real mode to long mode, on every backend that this host has. */
import assert from "node:assert/strict";
import "../src/host/preload.ts";
import { type BackendName, type GuestMachine, gva, hosts, open } from "../mod.ts";
import { cKernel, gdb, has, lldb } from "./gdb_programs.ts";

const HAS_GDB = has("gdb");
const HAS_LLDB = has("lldb");
const KVM = (await hosts()).some(({ backend, usable }) => backend === "kvm" && usable);
const BACKENDS: readonly BackendName[] = KVM ? ["fake", "kvm"] : ["fake"];
if (!HAS_GDB) console.log("skipped: driving the GDB server with gdb (apt-get install gdb)");
if (!HAS_LLDB) console.log("skipped: driving the GDB server with lldb (apt-get install lldb)");

/** A test with each backend's guest, served. */
function each(
  name: string,
  body: (vm: GuestMachine, address: string) => Promise<void>,
  ignore = !HAS_GDB,
): void {
  for (const backend of BACKENDS) {
    Deno.test({
      name: `${name} [${backend}]`,
      ignore,
      fn: async () => {
        await using vm = await open({ backend, boot: await cKernel() });
        await using server = await vm.gdbServer();
        await body(vm, server.address);
      },
    });
  }
}

/** Checks that `output` holds these, in this order. */
function inOrder(output: string, wanted: readonly (string | RegExp)[]): void {
  let rest = output;
  for (const part of wanted) {
    const found = typeof part === "string" ? rest.indexOf(part) : rest.search(part);
    assert.ok(found >= 0, `${part} is missing, or too early, in:\n${output}`);
    rest = rest.slice(found + 1);
  }
}

each("gdb: from real mode to long mode in one session", async (_vm, address) => {
  inOrder(
    await gdb(address, [
      "print $pc",
      "stepi 3",
      "info registers cs cr0",
      "break protected_entry",
      "continue",
      "info registers cs cr0 efer",
      "tbreak long_entry",
      "continue",
      "info registers cs cr0 efer",
      "info breakpoints",
      "step 4",
      "backtrace",
    ]),
    [
      "real_entry () at",
      "<real_entry>",
      /cs +0x0 /,
      /cr0 .*\[ .*ET/,
      "Breakpoint 1, protected_entry",
      /cs +0x8 /,
      /cr0 .*\[ PE/,
      /efer +0x0 /,
      "Temporary breakpoint 2, long_entry",
      /cs +0x18 /,
      /cr0 .*PG/,
      /efer .*LME LMA/,
      "breakpoint already hit 1 time",
      "kmain ()",
    ],
  );
});

each("gdb: break, tbreak, backtrace, finish, next, until, variables", async (vm, address) => {
  inOrder(
    await gdb(address, [
      "break factorial if n == 2",
      "continue",
      "backtrace 5",
      "up",
      "print n",
      "finish",
      "delete",
      "tbreak sum",
      "continue",
      "next",
      "next",
      "print *values@8",
      "set variable count = 3",
      "print count",
      "until 36",
      "info locals",
      "advance tick",
      "x/4dg table",
      "print where",
      "print &where.y",
      "ptype where",
      "info threads",
      "set variable where.x = -5",
      "print sizeof(table) / sizeof(table[0])",
    ]),
    [
      "Breakpoint 1, factorial (n=2)",
      "#0  factorial (n=2)",
      "#1  0x",
      "factorial (n=3)",
      "#3  0x",
      "factorial (n=5)",
      "#4  0x",
      "kmain ()",
      "$1 = 3",
      /Value returned is \$\d+ = /,
      "Temporary breakpoint 2, sum (values=",
      "= {0, 1, 4, 9, 16, 25, 36, 49}",
      "= 3",
      "product = 120",
      "tick (n=0)",
      "<table>:\t0\t1",
      "4\t9",
      "= {x = 4, y = 6}",
      "(int *) 0x",
      "int y;",
      /\* 1 +Thread 1\.1 "vCPU 0"/,
    ],
  );
  const { rip } = await vm.vcpus[0].registers();
  assert.ok(rip > 0x8000n && rip < 0x9000n);
});

each("gdb: jump, return, call", async (_vm, address) => {
  inOrder(
    await gdb(address, [
      "tbreak move",
      "continue",
      "return",
      "info symbol $pc",
      "print where",
      "tbreak move",
      "jump 48",
      "next",
      "print p->x",
      "print factorial(6)",
      "backtrace 1",
      "return",
      "info symbol $pc",
      "tbreak sum",
      "continue",
      "print count",
    ]),
    [
      "Temporary breakpoint 1, move",
      "kmain + ",
      "$1 = {x = 1, y = 2}",
      "Temporary breakpoint 2, move",
      "$2 = 4",
      "$3 = 720",
      "#0  move (",
      "kmain + ",
      "Temporary breakpoint 3, sum",
      "$4 = 8",
    ],
  );
});

each("gdb: watchpoints name old and new values", async (_vm, address) => {
  inOrder(
    await gdb(address, [
      "break move",
      "continue",
      "delete",
      "watch where.y",
      "continue",
      "delete",
      "awatch ticks",
      "continue",
      "continue",
      "delete",
      "rwatch where.x",
      "continue",
    ]),
    [
      "Breakpoint 1, move (p=",
      "Hardware watchpoint 2: where.y",
      "Old value = 2",
      "New value = 6",
      "Hardware access (read/write) watchpoint 3: ticks",
      /(Value|Old value) = 0/,
      /= 1/,
      "Hardware read watchpoint 4: where.x",
      "Value = 4",
    ],
  );
});

each("gdb: conditions are evaluated by the server, the same as by gdb", async (vm, address) => {
  const conditions = [
    "n == 60",
    "ticks % 2 == 1 && n > 50",
    "where.x * 2 + n > 70",
    "(char) n < 0 || $rdi == 3",
  ];
  const seen: string[][] = [];
  for (const where of ["target", "host"]) {
    const commands = conditions.flatMap((condition, i) => [
      ...(i === 0 ? [] : ["set var $pc = kmain", "set var where.x = 1", "set var ticks = 0"]),
      `tbreak tick if ${condition}`,
      "continue",
      "print n",
      "print ticks",
    ]);
    const output = await gdb(address, [
      `set breakpoint condition-evaluation ${where}`,
      "set language c",
      "tbreak long_entry",
      "continue",
      "stepi 3",
      ...commands,
      "set var $pc = real_entry",
    ]);
    seen.push([...output.matchAll(/^\$\d+ = (\d+)$/gm)].map(([, n]) => n));
    await vm.reset();
  }
  assert.deepEqual(seen[0], seen[1]);
  assert.deepEqual(seen[0].slice(0, 4), ["60", "59", "52", "51"]);
});

each("gdb: the guest's end is the program's exit; run starts it again", async (vm, address) => {
  const output = await gdb("", [
    `target extended-remote ${address}`,
    "continue",
    "run",
    "tbreak kmain",
    "run",
    "print $pc",
    "kill",
    "delete",
    "run",
  ]);
  // (270 & 0x7f) << 1 | 1 the first time; the structure is data, which a reset loads again.
  inOrder(output, [
    "exited with code 035]",
    "exited with code 035]",
    "Temporary breakpoint 1, kmain",
    "<kmain",
    "[Inferior 1 (process 1) killed]",
    "exited with code 035]",
  ]);
  assert.equal(vm.state, "paused");
});

each("gdb: leaves its breakpoints out, by detaching or dying", async (vm, address) => {
  const before = await vm.memory.read(0x8000n, 0x400);
  for (const end of ["detach", "shell true", "disconnect"]) {
    await gdb(address, [
      "set breakpoint always-inserted on",
      "break kmain",
      "break tick",
      "watch result",
      "stepi",
      end,
    ]);
    while ([...vm.breakpoints].length > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(await vm.memory.read(0x8000n, 0x400), before);
  }
  assert.equal(vm.state, "paused");
});

each("gdb: a breakpoint of hvsh stops gdb's run", async (vm, address) => {
  const breakpoint = await vm.breakpoints.add(gva(0x8024n));
  const output = await gdb(address, ["continue", "print $pc", "tbreak kmain", "continue", "print $pc"]);
  inOrder(output, ["SIGTRAP", "<protected_entry>", "kmain ()"]);
  assert.equal(breakpoint.hits, 1);
});

each(
  "lldb: attaches, breaks, steps, reads variables and registers",
  async (_vm, address) => {
    const output = await lldb(address, [
      "register read rip cr0",
      "breakpoint set --name factorial --condition 'n == 2'",
      "continue",
      "frame variable",
      "thread backtrace",
      "finish",
      "memory read --size 8 --format d --count 4 `&table`",
      "expression -- where.x + 1",
      "thread list",
      "process plugin packet send qC",
      "detach",
    ]);
    inOrder(output, [
      "rip = 0x0000000000008000",
      "cr0 = 0x",
      "stop reason = breakpoint",
      "(int) n = 2",
      "factorial(n=3)",
      /\(int\) \$\d+ = 2\n/,
    ]);
    // It keeps the results of expressions where no memory can be, if it is told of such a place.
    assert.doesNotMatch(output, /Assertion failed/);
  },
  !HAS_LLDB,
);

Deno.test({
  name: "gdb: monitor is the shell of hvsh, on a Unix socket, with --gdb",
  ignore: !HAS_GDB,
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const root = new URL("../", import.meta.url);
    const shell = new Deno.Command(Deno.execPath(), {
      args: ["run", "-q", "-A", "--no-check", new URL("src/repl/main.ts", root).pathname, "--backend", "fake"]
        .concat(["--gdb", `unix:${folder}/gdb`, "-kernel", new URL("fixtures/elf64.bin", root).pathname]),
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    try {
      const reader = shell.stdout.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      while (!text.includes("target remote")) text += (await reader.read()).value ?? "";
      const output = await gdb(`${folder}/gdb`, [
        "break inner",
        "continue",
        "monitor info registers rdi rip",
        "monitor x/2i $rip",
        "monitor vm.backend",
        "monitor no_such_thing",
        "monitor break middle",
        "monitor info breakpoints",
        "delete",
        "monitor continue",
      ], new URL("fixtures/elf64.bin", root).pathname);
      inOrder(output, [
        "Breakpoint 1, ",
        /rdi +0xa/,
        "<inner",
        '"fake"',
        "neither a command nor a variable",
        "Breakpoint",
        "middle",
      ]);
      await shell.stdin.getWriter().close();
      while (!(await reader.read()).done);
      assert.equal((await shell.status).success, true);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
