import assert from "node:assert/strict";
import { bootSector, flat } from "./mod.ts";
import { guest, GuestFailure, guestTest } from "./testing.ts";

/** mov al, 'O'; out 0xe9, al; mov al, 'K'; out 0xe9, al; then what `end` says. */
const ok = (...end: number[]) => flat(Uint8Array.of(0xb0, 0x4f, 0xe6, 0xe9, 0xb0, 0x4b, 0xe6, 0xe9, ...end));
/** mov al, 21; out 0xf4, al */
const EXIT = [0xb0, 21, 0xe6, 0xf4];
/** jmp $ */
const SPIN = [0xeb, 0xfe];

async function failureOf(call: Promise<unknown>): Promise<GuestFailure> {
  const error = await call.then(() => undefined, (e) => e);
  assert.ok(error instanceof GuestFailure, `a GuestFailure, not ${error}`);
  return error;
}

Deno.test("the console is expected while the guest runs, and the stop it comes to afterwards", async () => {
  await using vm = await guest({ backend: "fake", boot: ok(...EXIT) });
  assert.equal((await vm.expectConsole(/O(K)/))[1], "K");
  assert.equal((await vm.expectStop("exit")).code, 43);
});

Deno.test("a guest that goes on is paused once the console showed what was expected", async () => {
  await using vm = await guest({ backend: "fake", boot: ok(...SPIN) });
  await vm.expectConsole("OK");
  assert.equal(vm.state, "paused");
  await vm.expectStop("timeout", { timeoutMs: 10 });
});

Deno.test("a failure shows registers, code, exits and console", async () => {
  await using vm = await guest({ backend: "fake", boot: ok(...SPIN), timeoutMs: 30 });
  const { message } = await failureOf(vm.expectStop("halt"));
  assert.match(message, /expected the guest to stop by halt; it stopped by timeout/);
  assert.match(message, /rip 1008/);
  assert.match(message, /-> 0x1008 +jmp/);
  assert.match(message, /port write 0xe9 = 0x4b at 0x1006 \(debugcon-e9\)/);
  assert.match(message, /console:\n +OK/);
  const missing = await failureOf(vm.expectConsole("login:"));
  assert.match(missing.message, /did not show login: within 30 ms/);
});

Deno.test("a guest that stops before the console shows something says so", async () => {
  await using vm = await guest({ backend: "fake", boot: ok(...EXIT) });
  const { message } = await failureOf(vm.expectConsole("login:"));
  assert.match(message, /did not show login: before the guest stopped by exit with code 43/);
});

Deno.test("what the console or the screen does not show in time is told with where the guest stood", async () => {
  const code = new Uint8Array(512);
  code.set([0xb0, 0x4f, 0xe6, 0xe9, 0xb0, 0x4b, 0xe6, 0xe9, ...SPIN]);
  code.set([0x55, 0xaa], 510);
  const sector = bootSector(code);
  await using vm = await guest({ backend: "fake", boot: sector, timeoutMs: 30 });
  const running = vm.continue();
  for (const printing of [vm.console, vm.screen]) {
    const error = await printing.expect("login:").then(() => undefined, (e) => e);
    assert.equal(error.name, "TimeoutError");
    assert.match(error.message, /did not show login: within 30 ms/);
    assert.match(error.message, /-> 0x7c08 +jmp/);
    assert.match(error.message, /port write 0xe9 = 0x4b/);
    assert.match(error.stack.split("\n").find((l: string) => l.startsWith("    at ")), /testing_test\.ts/);
  }
  assert.equal((await running).kind, "pause");
  await vm.console.expect("OK", { timeoutMs: 1_000 });
});

Deno.test("a failure names the line of the test that expected something", async () => {
  await using vm = await guest({ backend: "fake", boot: ok(...SPIN), timeoutMs: 30 });
  for (
    const { stack = "" } of [await failureOf(vm.expectStop("halt")), await failureOf(vm.expectConsole("?"))]
  ) {
    const [first] = stack.split("\n").filter((l) => l.startsWith("    at "));
    assert.match(first, /testing_test\.ts/);
  }
});

Deno.test("what `deno test` prints of a failure shows once where the guest stood, the line of the test, and the remedy", async () => {
  const file = await Deno.makeTempFile({ suffix: "_test.ts" });
  try {
    const testing = new URL("testing.ts", import.meta.url).href;
    await Deno.writeTextFile(
      file,
      `import { guest, guestTest } from "${testing}";
      guestTest("throws", { backend: "fake" }, async (vm) => void await vm.interrupts.pulse(99));
      Deno.test("fails", async () => {
        await using vm = await guest({ backend: "fake" });
        await vm.expectStop("exit", { timeoutMs: 30 });
      });`,
    );
    const args = ["test", "-A", "--no-check", file];
    const { stdout } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
    const printed = new TextDecoder().decode(stdout);
    assert.equal(printed.split("last exits:").length, 3, printed);
    assert.match(printed, /expected the guest to stop by exit;[^]*_test\.ts:5:/);
    assert.match(printed, /no interrupt input 99: .*\ntake one of these\n/);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("a failure after a triple fault has the autopsy, symbols and the calls", async () => {
  // In protected mode at 0x100000: call f; f: push ebp; mov ebp, esp; ud2
  const code = Uint8Array.of(0xe8, 0, 0, 0, 0, 0x55, 0x89, 0xe5, 0x0f, 0x0b);
  await using vm = await guest({ backend: "fake", boot: flat(code, { mode: "protected" }) });
  vm.symbols.add("mine", "0000000000100000 T start\n0000000000100005 T f\n");
  await vm.vcpus[0].setRegisters({ rsp: 0x8000n, idtr_limit: 0n });
  const { message } = await failureOf(vm.expectStop("halt"));
  assert.match(message, /triple fault:\n +probably: the IDT is empty/);
  assert.match(message, /code in <f\+0x3>:\n +-> 0x100008 +ud2/);
  assert.match(message, /backtrace:\n +#0 +0x100008 <f\+0x3>\n +#1 +0x100005/);
  assert.match(message, /stack:\n +0x7ff8 +0x0+\n +0x7ffc +0x00100005/);
});

guestTest("guestTest gives a guest of its own", { backend: "fake", boot: ok(0xfa, 0xf4) }, async (vm) => {
  await vm.expectStop("halt");
  assert.match(await vm.report(), /stopped by halt/);
});

guestTest(
  "guestTest says why it can't run on a host without the backend",
  { boot: ok(0xfa, 0xf4) },
  async (vm) => {
    assert.ok(["kvm", "qemu"].includes(vm.backend), vm.backend);
    await vm.expectStop("halt");
  },
);
