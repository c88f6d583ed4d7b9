/** Runs recorded and compared: `hvsh trace` and `hvsh diff`. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { flat, gpa, hosts, InputError, open } from "../mod.ts";
import { compareFiles, compareMachines, traceLines } from "../src/dsl/traces.ts";
import { biosHolds, whyNoBios } from "./soak/bios.ts";
import { runTraces } from "../src/repl/traces.ts";

const MEMORY = 1 << 20;
const qemu = (await hosts()).find((host) => host.backend === "qemu");

const guest = (hex: string, backend: "fake" | "qemu" = "fake") =>
  open({ backend, memory: MEMORY, boot: flat(Uint8Array.fromHex(hex), { at: 0x1000 }) });

async function trace(hex: string, count: number): Promise<{ lines: string[]; ended: string | undefined }> {
  await using vm = await guest(hex);
  const lines: string[] = [];
  const all = traceLines(vm, count);
  for (;;) {
    const next = await all.next();
    if (next.done) return { lines, ended: next.value };
    lines.push(next.value);
  }
}

/** mov ax, 5; mov [0x3000], ax; inc ax; push ax; cli; hlt */
const CODE = "b80500a300304050faf4";

Deno.test("a trace has each instruction, the registers it changed and the memory it wrote", async () => {
  const { lines, ended } = await trace(CODE, 4);
  assert.equal(ended, undefined);
  const [header, ...steps] = lines.map((line) => JSON.parse(line));
  assert.deepEqual([header.hvsh, header.version, header.backend, header.start.rip], [
    "trace",
    1,
    "fake",
    "1000",
  ]);
  assert.deepEqual(steps[0], { at: "1000", code: "b80500", bits: 16, regs: { rax: "5", rip: "1003" } });
  assert.deepEqual(steps[1].mem, [["3000", "0500"]]);
  assert.deepEqual(steps[3].mem, [["ffe", "0600"]]);
  assert.equal((await trace("faf490", 10)).ended, "halt");
});

Deno.test("two traces: the first difference is named, with what led there", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const write = async (name: string, hex: string, change = (line: string) => line) => {
      const { lines } = await trace(hex, 4);
      await Deno.writeTextFile(`${folder}/${name}`, lines.map(change).join("\n") + "\n");
      return `${folder}/${name}`;
    };
    const a = await write("a", CODE);
    assert.deepEqual(await compareFiles(a, a), { same: 4 });
    const registers = await compareFiles(
      a,
      await write("b", CODE, (l) => l.replace('"rax":"6"', '"rax":"7"')),
    );
    assert.deepEqual(registers.difference?.in, [{ what: "rax", a: "0x6", b: "0x7" }]);
    assert.deepEqual([registers.same, registers.difference?.text, registers.difference?.before.length], [
      2,
      "inc ax",
      2,
    ]);
    const memory = await compareFiles(a, await write("c", CODE, (l) => l.replace('"0500"', '"0501"')));
    assert.deepEqual(memory.difference?.in, [{ what: "memory 0x3000", a: "0500", b: "0501" }]);
    const code = await compareFiles(a, await write("d", CODE.replace("0500", "0600")));
    assert.equal(code.difference?.in[0].what, "code");
    for (const text of ["", "{}", '{"hvsh":"trace","version":1,"start":{"rax":"x"}}', "[1"]) {
      await Deno.writeTextFile(`${folder}/bad`, text);
      await assert.rejects(() => compareFiles(a, `${folder}/bad`), InputError);
    }
    await assert.rejects(() => compareFiles(a, `${folder}/none`), InputError);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("what differs from the start, or comes from the host, may go through memory", async () => {
  // push dx; mov bx, [0xffe]; pop cx; add cx, bx; mov word [0xffe], 3; mov ax, [0xffe]; cli; hlt
  const code = "528b1efe0f5901d9c706fe0f0300a1fe0ffaf4";
  await using a = await guest(code);
  await using b = await guest(code);
  await b.vcpus[0].setRegisters({ rdx: 7n });
  const verdict = await compareMachines(a, b, 100);
  assert.equal(verdict.difference, undefined, verdict.difference?.text);
  assert.equal(verdict.ended, "both: halt");
});

Deno.test("a guest without code where it starts has a trace, and traces of it are compared", async () => {
  const folder = await Deno.makeTempDir();
  try {
    for (const name of ["a", "b"]) {
      // the reset vector of a machine without firmware: nothing but ones on the bus
      assert.equal(
        await runTraces("trace", ["--backend", "fake", "--count", "3", "-o", `${folder}/${name}`]),
        0,
      );
    }
    assert.equal((await compareFiles(`${folder}/a`, `${folder}/b`)).difference, undefined);
    assert.equal(await runTraces("trace", ["--backend", "fake", "-o", `${folder}/none/x`]), 2);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("in lock step: results of the host are taken over, and do not count", async () => {
  // cpuid and in give what the guest's own does not decide; the sum behind them is the same on both
  await using a = await guest("0fa2e47040faf4");
  await using b = await guest("0fa2e47040faf4");
  await b.vcpus[0].setRegisters({ rbx: 7n });
  const verdict = await compareMachines(a, b, 100);
  assert.equal(verdict.difference, undefined);
  assert.equal(verdict.ended, "both: halt");
});

Deno.test("in lock step: what a device wrote into memory is taken over where it is read, and told", async () => {
  // mov dl, 1; mov dl, [0x3000]; mov al, dl; add [0x3002], al; mov bl, [0x3002]; cli; hlt
  const code = "b2018a16003088d000060230" + "8a1e0230" + "faf4";
  await using a = await guest(code);
  await using b = await guest(code);
  // The first side's byte is what its register holds already: that has to be taken over all the same.
  await a.memory.write(gpa(0x3000n), Uint8Array.of(1));
  await b.memory.write(gpa(0x3000n), Uint8Array.of(2));
  const verdict = await compareMachines(a, b, 100);
  assert.equal(verdict.difference, undefined);
  assert.deepEqual([verdict.ended, verdict.devices], ["both: halt", 1]);
  assert.equal((await b.vcpus[0].registers()).rbx & 0xffn, 1n);
});

Deno.test("in lock step: a true difference is found at its instruction", async () => {
  await using a = await guest(CODE);
  await using b = await guest(CODE.replace("40", "48"));
  const { same, difference } = await compareMachines(a, b, 100);
  assert.equal(same, 2);
  assert.equal(difference?.in[0].what, "code");
});

Deno.test("in lock step: code that something else than the guest changes is named, although it is read once", async () => {
  // inc ax; nop; jmp 0x1000
  await using a = await guest("4090ebfc");
  await using b = await guest("4090ebfc");
  // In the third round the first instruction is DEC AX on one of them.
  let steps = 0;
  const step = b.step.bind(b);
  b.step = async (request) => {
    if (++steps === 7) await b.memory.write(gpa(0x1000n), Uint8Array.of(0x48));
    return await step(request);
  };
  const { same, difference } = await compareMachines(a, b, 100);
  assert.equal(same, 6);
  assert.deepEqual(difference?.in, [{ what: "code", a: "40", b: "48" }]);
});

Deno.test({
  name: "the interpreter and QEMU do the same, undefined flags aside",
  ignore: qemu?.usable !== true,
  async fn() {
    // mov ax, 0x1234; mov cx, 7; mul cx; shl ax, 3; and ax, cx; push ax; pop dx; loop; nop; cli; hlt
    const code = "b83412b90700f7e1c1e00321c8505ae2f790faf4";
    await using a = await guest(code, "fake");
    await using b = await guest(code, "qemu");
    const verdict = await compareMachines(a, b, 60);
    assert.deepEqual(verdict.difference, undefined);
    assert.ok(verdict.same >= 40, JSON.stringify(verdict, (_, v) => typeof v === "bigint" ? `${v}` : v));
  },
});

Deno.test({
  name: "hvsh diff: SeaBIOS from the reset vector does the same on KVM and in QEMU, or it is told where not",
  ignore: await whyNoBios() !== undefined,
  // deno task soak compares a million.
  fn: () => biosHolds({ runs: 5_000 }),
});

Deno.test({
  name: "hvsh diff: a guest that ends by its debug-exit port ends so on both sides",
  ignore: qemu?.usable !== true,
  async fn() {
    const kernel = new URL("../fixtures/elf64.bin", import.meta.url).pathname;
    assert.equal(await runTraces("diff", ["--backends", "fake,qemu", "-kernel", kernel]), 0);
    assert.equal(await runTraces("diff", ["--backends", "qemu,fake", "-kernel", kernel]), 0);
  },
});

Deno.test("what is wrong on the command line is told, with the way to write it", async () => {
  for (const args of [[], ["-o"], ["--count", "x", "-o", "/dev/null"]]) {
    assert.equal(await runTraces("trace", args), 2);
  }
  for (const args of [["one"], ["--backends", "fake"], ["--backends", "fake,fake,fake"]]) {
    assert.equal(await runTraces("diff", args), 2);
  }
  assert.equal(await runTraces("diff", ["--backends", "fake,fake", "--help"]), 0);
});
