/** QEMU as a backend: what the contract does not ask. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import {
  flat,
  gpa,
  type GuestMachine,
  gva,
  hosts,
  HvshError,
  InputError,
  open,
  type Stop,
  UnsupportedError,
} from "../mod.ts";
import { QEMU_HOST } from "../src/dsl/qemu.ts";
import { openQemu } from "../src/remote/qemu/open_qemu.ts";
import { growthOf } from "./leaks.ts";

const qemu = (await hosts()).find((host) => host.backend === "qemu");
const ignore = qemu?.usable !== true;
if (qemu?.usable === false) console.log(`skipped: QEMU: ${qemu.reason}`);

const MEMORY = 1 << 20;
const guest = (hex: string) =>
  open({ backend: "qemu", memory: MEMORY, boot: flat(Uint8Array.fromHex(hex), { at: 0x1000 }) });

/** Processes called qemu whose parent is `parent`. */
async function children(parent: number): Promise<number[]> {
  const { stdout } = await new Deno.Command("ps", { args: ["-o", "pid=,comm=", "--ppid", `${parent}`] })
    .output();
  return new TextDecoder().decode(stdout).split("\n").filter((line) => line.includes("qemu")).map((line) =>
    parseInt(line)
  );
}

const running = (pid: number) => Deno.stat(`/proc/${pid}/exe`).then(() => true, () => false);

/** Waits for something outside to happen. */
async function until(done: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500 && !await done(); i++) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.ok(await done());
}

Deno.test({
  name: "hosts() names QEMU's version",
  ignore,
  fn: () => assert.match(JSON.stringify(qemu), /QEMU \d/),
});

Deno.test({
  name: "a watchpoint that an instruction with a breakpoint touches is told once",
  ignore,
  async fn() {
    // inc ax; mov [0x2000], ax; jmp 0x1000
    await using vm = await guest("40a30020ebfa");
    await vm.breakpoints.add(gva(0x1001n));
    await vm.breakpoints.add(gva(0x2000n), { access: "write", size: 2 });
    const stops: string[] = [];
    for (let i = 0; i < 5; i++) {
      const { kind, rip } = await vm.continue();
      stops.push(`${kind} ${rip.toString(16)}`);
      // What is changed where it stands makes no difference.
      if (i === 1) await vm.vcpus[0].setRegisters({ rbx: 1n });
    }
    const both = ["breakpoint 1001", "watchpoint 1004"];
    assert.deepEqual(stops, [...both, ...both, both[0]]);
    assert.equal((await vm.step()).kind, "watchpoint");
    assert.equal((await vm.step()).rip, 0x1000n);
    assert.equal((await vm.step()).rip, 0x1001n);
  },
});

Deno.test({
  name: "the debug-exit port gives its code, and the guest can still be looked at",
  ignore,
  async fn() {
    await using vm = await guest("b005e6f4ebfe");
    const stop = await vm.continue({ timeoutMs: 10_000 });
    assert.equal(stop.kind === "exit" && stop.code, 11);
    assert.equal(stop.registers.rax & 0xffn, 5n);
    assert.equal(await vm.memory.readUint(0x1000n, 2), 0x05b0n);
  },
});

Deno.test({
  name: "what was printed before a stop is there at the stop",
  ignore,
  async fn() {
    // mov dx, 0x3f8; mov al, 'A'; out dx, al; mov al, 'B'; out 0xe9, al; cli; hlt
    await using vm = await guest("baf803b041eeb042e6e9faf4");
    assert.equal((await vm.continue({ timeoutMs: 10_000 })).kind, "halt");
    assert.deepEqual([...vm.console.text].sort(), ["A", "B"]);
  },
});

Deno.test({
  name: "QEMU ends with the machine, and leaves nothing",
  ignore,
  async fn() {
    const { fds } = await growthOf(async () => {
      const vm = await guest("90f4");
      const [pid] = await children(Deno.pid);
      assert.ok(await running(pid));
      await vm.close();
      assert.equal(await running(pid), false);
    });
    assert.deepEqual(fds, []);
  },
});

Deno.test({
  name: "QEMU ends when hvsh is killed",
  ignore,
  async fn() {
    const script = `import { open } from "${new URL("../mod.ts", import.meta.url)}";
      await open({ backend: "qemu", memory: ${MEMORY} }); console.log("open"); setInterval(() => {}, 1000);`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--no-check", script],
      stdin: "null",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    const [pid] = await children(child.pid);
    assert.ok(await running(pid));
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    await until(async () => !await running(pid));
  },
});

Deno.test({
  name: "a QEMU that dies makes the guest gone; nothing hangs, closing works",
  ignore,
  async fn() {
    const vm = await guest("ebfe");
    const [pid] = await children(Deno.pid);
    const going = vm.continue({ timeoutMs: 20_000 });
    await new Promise((resolve) => setTimeout(resolve, 30));
    Deno.kill(pid, "SIGKILL");
    const stop = await going;
    assert.equal(stop.kind, "gone");
    assert.equal((await vm.continue({ timeoutMs: 20_000 })).kind, "gone");
    await assert.rejects(() => vm.memory.read(0x1000n, 1), HvshError);
    await vm.close();
  },
});

for (
  const [how, end] of Object.entries<(vm: GuestMachine, pid: number) => unknown>({
    "is killed": (_, pid) => Deno.kill(pid, "SIGKILL"),
    "ends by itself": (vm) => vm.monitor!.execute("quit"),
  })
) {
  Deno.test({
    name: `a guest with breakpoints is closed though its QEMU ${how}`,
    ignore,
    async fn() {
      await using vm = await guest("ebfe");
      const [pid] = await children(Deno.pid);
      await vm.breakpoints.add(gva(0x1005n));
      await vm.breakpoints.add(gva(0x1005n), { kind: "hardware" });
      await vm.breakpoints.add(gva(0x2000n), { access: "write", size: 1 });
      end(vm, pid);
      await until(async () => !await running(pid));
    },
  });
}

for (
  const [what, again] of Object.entries<(vm: GuestMachine) => Promise<unknown>>({
    "is stepped": (vm) => vm.step(),
    "is stepped a thousand times": (vm) => vm.step(1000),
    "has its memory read": (vm) => vm.memory.read(gpa(0), MEMORY),
    "has its memory written": (vm) => vm.memory.write(gpa(0x2000n), [1]),
  })
) {
  Deno.test({
    name: `a QEMU that is killed while its guest ${what} again and again is gone; closing works`,
    ignore,
    async fn() {
      const vm = await guest("ebfe");
      const [pid] = await children(Deno.pid);
      // It fires only if a loop that awaits leaves it its turn.
      const timer = setTimeout(() => Deno.kill(pid, "SIGKILL"), 30);
      let end: unknown;
      for (let i = 0; i < 100_000 && end === undefined; i++) {
        end = await again(vm).then(
          (answer) => (answer as Partial<Stop> | undefined)?.kind === "gone" ? answer : undefined,
          (error) => error,
        );
      }
      clearTimeout(timer);
      assert.ok(end !== undefined, "it is seen");
      if (end instanceof Error) assert.ok(end instanceof HvshError, `${end}`);
      assert.equal((await vm.continue()).kind, "gone");
      await vm.close();
    },
  });
}

Deno.test({
  name: "a long read leaves the event loop its turn",
  ignore,
  async fn() {
    await using vm = await open({ backend: "qemu", memory: 16 * MEMORY });
    let rang = false;
    const timer = setTimeout(() => rang = true, 1);
    await vm.memory.read(gpa(0), 16 * MEMORY);
    clearTimeout(timer);
    assert.ok(rang, "a timer rang meanwhile");
  },
});

Deno.test({
  name: "the processor of a guest in QEMU is chosen",
  ignore,
  async fn() {
    // mov eax, 1; cpuid; hlt
    const boot = flat(Uint8Array.of(0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0xf4), { at: 0x1000, mode: "protected" });
    const leaf1 = async (cpu: string) => {
      await using vm = await open({ backend: "qemu", memory: MEMORY, boot, cpu });
      await vm.step(2);
      return (await vm.vcpus[0].registers()).rcx;
    };
    const RDRAND = 1n << 30n;
    assert.equal(await leaf1("host,+sse3") & RDRAND, RDRAND);
    assert.equal(await leaf1("host,-rdrand") & RDRAND, 0n);
    await assert.rejects(leaf1("host,+nonsense"), /nonsense/);
    await assert.rejects(leaf1("host,rdrand=off"), InputError);
    await assert.rejects(leaf1("qemu64"), /no choice of a processor/);
  },
});

Deno.test({
  name: "a QEMU that refuses to start is heard",
  ignore,
  async fn() {
    const options = { memory: MEMORY, cpus: 1, irqchip: true, pit: true };
    const odd = {
      ...QEMU_HOST,
      start: (p: string, a: readonly string[]) => QEMU_HOST.start(p, [...a, "-nonsense"]),
    };
    await assert.rejects(() => openQemu(options, odd), /QEMU did not start[^]*-nonsense: invalid option/);
    const { program: _, ...nothing } = { program: "", ...QEMU_HOST, findProgram: () => undefined };
    await assert.rejects(() => openQemu(options, nothing), UnsupportedError);
  },
});

Deno.test({
  name: "devices in TypeScript are refused before anything starts, with the reason",
  ignore,
  async fn() {
    const device = { name: "mine", ports: { start: 0x777, length: 1 } };
    const error = await open({ backend: "qemu", devices: [device] }).catch((e) => e);
    assert.ok(error instanceof UnsupportedError);
    assert.match(error.message, /accesses do not come to hvsh/);
  },
});

Deno.test({
  name: "a guest that switches itself off or resets is told apart",
  ignore,
  async fn() {
    // ACPI PM1 control of the PIIX4 is not set up without firmware; port 0xcf9 resets. QEMU does so a moment behind
    // the OUT: a guest that halts there (CLI, HLT) may be seen halted first.
    await using vm = await guest("baf90cb006eeebfe");
    const stop = await vm.continue({ timeoutMs: 10_000 });
    assert.equal(stop.kind === "shutdown" && stop.reason, "reset");
    assert.deepEqual(
      (await vm.continue({ timeoutMs: 1000 })).kind,
      "shutdown",
      "until it is reset, it is over",
    );
    await vm.reset();
    assert.equal((await vm.step()).rip, 0x1003n);
  },
});

Deno.test({
  name: "a guest-physical breakpoint is held by steps, and left by them",
  ignore,
  async fn() {
    // inc ax; inc bx; jmp back
    await using vm = await guest("4043ebfc");
    const at = async (move: Promise<Stop>) => {
      const stop = await move;
      return [stop.kind, stop.registers.rip, stop.registers.rax];
    };
    assert.deepEqual(await at(vm.runUntil(gpa(0x1001n), { timeoutMs: 60_000 })), ["step", 0x1001n, 1n]);
    const first = await vm.breakpoints.add(gpa(0x1001n));
    const second = await vm.breakpoints.add(gpa(0x1002n));
    const linear = await vm.breakpoints.add(0x1000n);
    assert.deepEqual([first.how, second.how, linear.how], ["step", "step", "hardware"]);
    const goOn = () => at(vm.continue({ timeoutMs: 60_000 }));
    // It was told of no breakpoint here, but of the end of a step, at the same place.
    assert.deepEqual(await goOn(), ["breakpoint", 0x1002n, 1n]);
    assert.deepEqual(await goOn(), ["breakpoint", 0x1000n, 1n]);
    assert.deepEqual(await goOn(), ["breakpoint", 0x1001n, 2n]);
    // Sent to one, it meets it.
    await vm.vcpus[0].setRegisters({ rip: 0x1000n });
    assert.deepEqual(await goOn(), ["breakpoint", 0x1000n, 2n]);
    await first.enable(false);
    await second.enable(false);
    await linear.remove();
    await vm.breakpoints.add(0x1001n);
    assert.deepEqual(await goOn(), ["breakpoint", 0x1001n, 3n]);
    assert.deepEqual([first.hits, second.hits], [1, 1]);
  },
});
