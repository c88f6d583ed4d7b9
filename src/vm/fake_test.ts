import assert from "node:assert/strict";
import fc from "fast-check";
import type { Backend, BackendVcpu } from "./backend.ts";
import { InputError, StateError, UnsupportedError } from "./errors.ts";
import type { DebugExit, VmExit } from "./exit.ts";
import { createFake } from "./fake.ts";
import type { RegisterValues } from "./registers.ts";

const OPTIONS = { memory: 1 << 20, cpus: 1, irqchip: false, pit: false };
const CODE = 0x1000;

const bytes = (hex: string) => Uint8Array.from(hex.match(/[0-9a-f]{2}/g) ?? [], (b) => parseInt(b, 16));

/** Registers for flat code of a mode; paging in long mode by tables at 0x10000 that map the first 2 MiB. */
function entry(mode: 16 | 32 | 64): RegisterValues {
  const values: Record<string, bigint> = { rip: BigInt(CODE), rsp: 0x7000n, rflags: 2n };
  for (const s of ["cs", "ds", "es", "ss"]) {
    const code = s === "cs";
    Object.assign(values, {
      [s]: mode === 16 ? 0n : code ? 8n : 16n,
      [`${s}_base`]: 0n,
      [`${s}_limit`]: mode === 16 ? 0xffffn : 0xffffffffn,
      [`${s}_attributes`]: mode === 16
        ? (code ? 0x9bn : 0x93n)
        : code
        ? (mode === 32 ? 0xc09bn : 0xa09bn)
        : 0xc093n,
    });
  }
  values.cr0 = mode === 16 ? 0x10n : mode === 32 ? 0x11n : 0x80010011n;
  if (mode === 64) Object.assign(values, { cr3: 0x10000n, cr4: 0x20n, efer: 0x500n });
  return values;
}

/** A guest with `code` (hex, spaces allowed) at CODE. */
async function guest(mode: 16 | 32 | 64, code: string, registers: RegisterValues = {}) {
  const backend = createFake(OPTIONS);
  await backend.memory.write(BigInt(CODE), bytes(code));
  await words(backend, 0x10000, [0x11003n]);
  await words(backend, 0x11000, [0x12003n]);
  await words(backend, 0x12000, [0x83n]);
  await backend.vcpus[0].setRegisters({ ...entry(mode), ...registers });
  return { backend, vcpu: backend.vcpus[0], [Symbol.asyncDispose]: async () => await backend.close() };
}

/** Writes 64-bit words. */
async function words(backend: Backend, at: number, values: bigint[]) {
  await backend.memory.write(BigInt(at), new Uint8Array(BigUint64Array.from(values).buffer));
}

async function word(backend: Backend, at: number, size = 8): Promise<bigint> {
  const into = new Uint8Array(8);
  await backend.memory.read(BigInt(at), into.subarray(0, size));
  return new DataView(into.buffer).getBigUint64(0, true);
}

/** Runs past ends of slices. */
async function run(vcpu: BackendVcpu): Promise<VmExit> {
  for (let i = 0; i < 20; i++) {
    const exit = await vcpu.run();
    if (exit.kind !== "slice") return exit;
  }
  throw new Error("the guest never left");
}

async function expect<K extends VmExit["kind"]>(
  vcpu: BackendVcpu,
  kind: K,
): Promise<VmExit & { kind: K }> {
  const exit = await run(vcpu);
  assert.equal(exit.kind, kind);
  return exit as VmExit & { kind: K };
}

// The second 64-bit code segment has a limit of 0, which does not count there.
for (const code64 of ["ffff0000009baf00", "00000000009b2000"]) {
  Deno.test(`a program goes from real through protected to long mode, code ${code64}`, async () => {
    // cli; lgdt; CR0.PE; far jmp; segments; CR4.PAE; CR3; EFER.LME; CR0.PG; far jmp; mov rax; push; pop rbx;
    // lea rcx, [rip+data]; mov rdx, [rip+data]; bswap rdx; hlt; data; GDTR; GDT
    await using g = await guest(
      16,
      `fa0f011678100f20c00c010f22c0ea1310080066b810008ed88ec08ed0bc0070
     0000b8200000000f22e0b8000001000f22d8b9800000c00f320d000100000f30
     0f20c00d000000800f22c0ea52100000180048b88877665544332211505b488d
     0d0b000000488b1504000000480fcaf408070605040302011f007e1000000000
     000000000000ffff0000009bcf00ffff00000093cf00${code64}`,
    );
    await expect(g.vcpu, "halt");
    const r = await g.vcpu.registers();
    assert.equal(r.rbx, 0x1122334455667788n);
    assert.equal(r.rcx, 0x1070n);
    assert.equal(r.rdx, 0x0807060504030201n);
    assert.equal(r.efer, 0x500n);
    assert.equal(r.rip, 0x1070n);
  });
}

Deno.test("a fault goes through the IVT, and IRET tries the instruction again", async () => {
  await using g = await guest(16, "31c9 f7f1 f4", { rax: 7n, rdx: 0n }); // xor cx, cx; div cx; hlt
  await words(g.backend, 0, [0x2000n]);
  await g.backend.memory.write(0x2000n, bytes("b90100 cf")); // mov cx, 1; iret
  await expect(g.vcpu, "halt");
  const r = await g.vcpu.registers();
  assert.deepEqual([r.rax, r.rcx, r.rip], [7n, 1n, 0x1005n]);
});

/** A 64-bit interrupt gate. */
function gate64(offset: number): bigint[] {
  return [BigInt(offset) | 8n << 16n | 0x8e00n << 32n, 0n];
}

/** A GDT at 0x8000: null, 32-bit code or 64-bit code, data, user code, user data, TSS at 0x9000. */
async function descriptors(g: { backend: Backend; vcpu: BackendVcpu }, long: boolean) {
  const code = long ? 0xaf9b000000ffffn : 0xcf9b000000ffffn;
  const user = [0xcffb000000ffffn, 0xcff3000000ffffn];
  await words(g.backend, 0x8000, [0n, code, 0xcf93000000ffffn, ...user]);
  await g.vcpu.setRegisters({
    gdtr_base: 0x8000n,
    gdtr_limit: 0x27n,
    idtr_base: 0xa000n,
    idtr_limit: 0xfffn,
    tr: 0x28n,
    tr_base: 0x9000n,
    tr_limit: 0x67n,
    tr_attributes: 0x8bn,
  });
}

Deno.test("a page fault tells its address, its error code and the instruction", async () => {
  await using g = await guest(64, "488904 2500004000 f4"); // mov [0x400000], rax
  await descriptors(g, true);
  await words(g.backend, 0xa000 + 14 * 16, gate64(0x2000));
  await g.backend.memory.write(0x2000n, bytes("59 0f20d2 f4")); // pop rcx; mov rdx, cr2; hlt
  await expect(g.vcpu, "halt");
  const r = await g.vcpu.registers();
  assert.deepEqual([r.rcx, r.rdx], [2n, 0x400000n]); // a write to a page that is not present
  assert.equal(await word(g.backend, Number(r.rsp)), 0x1000n);
  assert.equal(r.rsp % 16n, 8n, "five words and the error code on an aligned stack, one popped");
});

Deno.test("paging marks what it used: accessed, and dirty after a write", async () => {
  await using g = await guest(64, "a3 0050000000000000 f4"); // mov [0x5000], eax
  await expect(g.vcpu, "halt");
  assert.equal(await word(g.backend, 0x10000), 0x11023n);
  assert.equal(await word(g.backend, 0x12000), 0xe3n);
});

Deno.test("2-level paging maps pages of 4 KiB and 4 MiB", async () => {
  await using g = await guest(32, "a1 00504000 8b1d 00008000 f4", {
    cr3: 0x20000n,
    cr4: 0x10n,
    cr0: 0x80000011n,
  });
  await g.backend.memory.write(0x20000n, bytes("03100200 03200200 83000000"));
  await g.backend.memory.write(0x21004n, bytes("03100000")); // 0x1000 to itself
  await g.backend.memory.write(0x22014n, bytes("03600000")); // 0x405000 to 0x6000
  await g.backend.memory.write(0x6000n, bytes("78563412"));
  await g.backend.memory.write(0n, bytes("efbeadde")); // 0x800000 to 0 by a large page
  await expect(g.vcpu, "halt");
  const r = await g.vcpu.registers();
  assert.deepEqual([r.rax, r.rbx], [0x12345678n, 0xdeadbeefn]);
});

Deno.test("user code enters the kernel on the TSS's stack, and may not touch ports", async () => {
  await using g = await guest(32, "cd40 e480", {
    cs: 0x1bn,
    cs_attributes: 0xc0fbn,
    ss: 0x23n,
    ss_attributes: 0xc0f3n,
    ds: 0x23n,
    ds_attributes: 0xc0f3n,
  }); // int 0x40; in al, 0x80
  await descriptors(g, false);
  await words(g.backend, 0x9000, [0x6000n << 32n, 0x10n]);
  await words(g.backend, 0x9060, [0x68n << 48n]); // the I/O map lies beyond the TSS
  await words(g.backend, 0xa000 + 0x40 * 8, [0x3000n | 8n << 16n | 0xee00n << 32n]);
  await words(g.backend, 0xa000 + 13 * 8, [0x3100n | 8n << 16n | 0x8e00n << 32n]);
  await g.backend.memory.write(0x3000n, bytes("89e3 cf")); // mov ebx, esp; iretd
  await g.backend.memory.write(0x3100n, bytes("f4"));
  await expect(g.vcpu, "halt");
  const r = await g.vcpu.registers();
  assert.equal(r.rbx, 0x6000n - 20n, "SS, ESP, EFLAGS, CS and EIP were pushed");
  assert.equal(r.rsp, 0x6000n - 24n);
  assert.equal(await word(g.backend, 0x6000 - 24, 4), 0n, "#GP(0)");
  assert.equal(await word(g.backend, 0x6000 - 20, 4), 0x1002n, "at IN");
  assert.deepEqual([r.cs, r.ss], [8n, 0x10n]);
});

Deno.test("a fault that can't be delivered ends in a triple fault, until reset", async () => {
  await using g = await guest(32, "0f0b", { idtr_limit: 0n }); // ud2
  await expect(g.vcpu, "shutdown");
  await expect(g.vcpu, "shutdown");
  await g.backend.reset();
  const r = await g.vcpu.registers();
  assert.deepEqual([r.rip, r.cs_base], [0xfff0n, 0xffff0000n]);
});

Deno.test("an instruction that reads and writes MMIO asks twice and then is done", async () => {
  await using g = await guest(32, "0105 000000e0 f4", { rax: 5n }); // add [0xe0000000], eax
  const read = await expect(g.vcpu, "mmio-read");
  assert.deepEqual([read.address, read.data.length, g.vcpu.rip], [0xe0000000n, 4, 0x1000n]);
  read.data.set([7, 0, 0, 0]);
  const write = await expect(g.vcpu, "mmio-write");
  assert.deepEqual([...write.data], [12, 0, 0, 0]);
  assert.equal(g.vcpu.rip, 0x1000n, "RIP moves when the access is answered");
  assert.equal(await g.vcpu.settle(), undefined);
  assert.equal(g.vcpu.rip, 0x1006n);
  await expect(g.vcpu, "halt");
});

Deno.test("settling runs no further instruction, and hands over the second half of an access", async () => {
  await using g = await guest(32, "0105 000000e0 40 f4"); // add [0xe0000000], eax; inc eax
  await expect(g.vcpu, "mmio-read");
  const second = await g.vcpu.settle();
  assert.equal(second?.kind, "mmio-write");
  assert.equal(await g.vcpu.settle(), undefined);
  assert.deepEqual([(await g.vcpu.registers()).rax, g.vcpu.rip], [0n, 0x1006n]);
});

Deno.test("repeated port input is one exit for each element, and faults keep what was done", async () => {
  await using g = await guest(16, "f36c f4", { rcx: 3n, rdx: 0x60n, rdi: 0x5000n }); // rep insb
  for (const value of [1, 2, 3]) (await expect(g.vcpu, "io-in")).data[0] = value;
  await expect(g.vcpu, "halt");
  assert.equal(await word(g.backend, 0x5000, 3), 0x030201n);
  const r = await g.vcpu.registers();
  assert.deepEqual([r.rcx, r.rdi], [0n, 0x5003n]);
});

Deno.test("a protected page is written by the debugger alone", async () => {
  await using g = await guest(16, "f3a4 f4", { rcx: 4n, rsi: 0x1000n, rdi: 0x2ffen }); // rep movsb
  await g.backend.memory.protect?.(0x3000n, 1, true);
  const first = await expect(g.vcpu, "mmio-write");
  assert.deepEqual([first.address, first.data[0]], [0x3000n, 0xf4]);
  assert.equal(await word(g.backend, 0x2ffe, 2), 0xa4f3n, "what lies before the page is written");
  await expect(g.vcpu, "mmio-write");
  await expect(g.vcpu, "halt");
  assert.equal(await word(g.backend, 0x3000, 2), 0n);
  await g.backend.memory.protect?.(0x3000n, 1, false);
  await g.vcpu.setRegisters({ rip: 0x1000n, rcx: 1n, rsi: 0x1000n, rdi: 0x3000n });
  await expect(g.vcpu, "halt");
  assert.equal(await word(g.backend, 0x3000, 1), 0xf3n);
});

Deno.test("a ROM covers the RAM below it, can't be written by the guest, and can by the debugger", async () => {
  const roms = [{ name: "bios", at: 0xf0000n, bytes: bytes("ea") }];
  const backend = createFake({ ...OPTIONS, roms });
  assert.deepEqual(backend.memory.regions.map((r) => [r.name, r.start, r.size, r.readOnly]), [
    ["ram", 0n, 0xf0000n, false],
    ["bios", 0xf0000n, 0x1000n, true],
    ["ram", 0xf1000n, 0xf000n, false],
  ]);
  await backend.memory.write(0x1000n, bytes("a20000 f4")); // mov [0], al
  await backend.vcpus[0].setRegisters({ ...entry(16), ds_base: 0xf0000n });
  assert.equal((await expect(backend.vcpus[0], "mmio-write")).address, 0xf0000n);
  await expect(backend.vcpus[0], "halt");
  assert.equal(await word(backend, 0xf0000, 1), 0xean);
  await backend.memory.write(0xf0000n, bytes("90"));
  assert.equal(await word(backend, 0xf0000, 1), 0x90n);
  await backend.close();
});

Deno.test("debug registers stop before an instruction and after an access", async () => {
  await using g = await guest(16, "40 a30050 40 a10050 f4"); // inc ax; mov [0x5000], ax; inc ax; mov ax, [0x5000]
  const hardware = [
    { address: 0x1004n, access: "execute", size: 1 },
    { address: 0x5000n, access: "write", size: 2 },
    { address: 0x5001n, access: "access", size: 1 },
  ] as const;
  await g.vcpu.setTraps({ hardware, int3: false });
  const write = await expect(g.vcpu, "debug");
  assert.deepEqual([write.dr6 & 0xfn, write.pc], [6n, 0x1004n], "both watchpoints, after the write");
  const execute = await expect(g.vcpu, "debug");
  assert.deepEqual([execute.dr6 & 0xfn, execute.pc], [1n, 0x1004n]);
  const stepped = await g.vcpu.step() as DebugExit;
  assert.deepEqual(
    [stepped.dr6 & 0x400fn, stepped.pc],
    [0x4000n, 0x1005n],
    "a step does not stop where it is",
  );
  const read = await g.vcpu.step() as DebugExit;
  assert.equal(read.dr6 & 0x400fn, 0x4004n, "a step tells the watchpoint that it hit");
  await expect(g.vcpu, "halt");
});

Deno.test("INT3 goes to the debugger if it asks for it, else to the guest", async () => {
  await using g = await guest(16, "cc f4");
  await words(g.backend, 8, [0x2000n << 32n]);
  await g.backend.memory.write(0x2000n, bytes("b007 cf")); // mov al, 7; iret
  await g.vcpu.setTraps({ hardware: [], int3: true });
  const exit = await expect(g.vcpu, "debug");
  assert.deepEqual([exit.exception, exit.pc, g.vcpu.rip], [3, 0x1000n, 0x1000n]);
  await g.vcpu.setTraps({ hardware: [], int3: false });
  await expect(g.vcpu, "halt");
  assert.equal((await g.vcpu.registers()).rax, 7n);
});

Deno.test("the guest's own single step and breakpoint reach its #DB handler", async () => {
  await using g = await guest(16, "90 90 f4", { rflags: 0x102n, dr0: 0x1002n, dr7: 0x403n });
  await words(g.backend, 0, [0x2000n << 32n]);
  await g.backend.memory.write(0x2000n, bytes("43 cf")); // inc bx; iret
  let handled = 0;
  for (let i = 0; i < 4; i++) {
    const exit = await g.vcpu.step();
    assert.equal(exit.kind, "debug");
    if ((await g.vcpu.registers()).rip === 0x2000n) handled++;
  }
  assert.equal(handled, 2, "after NOP, again after IRET and the second NOP");
  assert.equal((await g.vcpu.registers()).dr6 & 0x4000n, 0x4000n);
});

Deno.test("an interrupt waits for IF, and for one instruction after STI", async () => {
  await using g = await guest(16, "90 fb 40 90 f4"); // nop; sti; inc ax; nop; hlt
  await words(g.backend, 0x20, [0x2000n]);
  await g.backend.memory.write(0x2000n, bytes("89c3 cf")); // mov bx, ax; iret
  g.backend.interrupts?.line(0).raise();
  assert.equal(g.backend.interrupts?.pending(0), false, "IF is 0");
  await expect(g.vcpu, "halt");
  assert.equal((await g.vcpu.registers()).rbx, 1n, "INC was done first");
  assert.equal(await g.vcpu.idle(), "halted");
});

Deno.test("a step leaves a pending interrupt alone unless it is let in", async () => {
  await using g = await guest(16, "90 90 f4", { rflags: 0x202n });
  await words(g.backend, 0x20, [0x2000n]);
  await g.backend.interrupts?.inject(0, 8);
  await g.vcpu.step();
  assert.equal(g.vcpu.rip, 0x1001n);
  await g.vcpu.step({ interrupts: true });
  assert.equal(g.vcpu.rip, 0x2000n);
});

Deno.test("HLT sleeps until an interrupt, or an NMI, or for ever", async () => {
  await using g = await guest(16, "fb f4 fa f4"); // sti; hlt; cli; hlt
  await words(g.backend, 0x20, [0x2000n]);
  await words(g.backend, 8, [0x2001n]);
  await g.backend.memory.write(0x2000n, bytes("cf cf"));
  await expect(g.vcpu, "halt");
  await expect(g.vcpu, "halt");
  assert.deepEqual([await g.vcpu.idle(), g.vcpu.rip], ["halted", 0x1002n]);
  const line = g.backend.interrupts!.line(0);
  line.raise();
  assert.equal(await g.vcpu.idle(), "no");
  await expect(g.vcpu, "halt");
  assert.deepEqual([await g.vcpu.idle(), g.vcpu.rip], ["halted-forever", 0x1004n]);
  await g.backend.interrupts?.nmi(0);
  await g.vcpu.step({ interrupts: true });
  assert.equal(g.vcpu.rip, 0x2001n);
  assert.equal((await g.vcpu.events()).nmiMasked, true);
});

Deno.test("a line asks once for each time it rises, and falling does not take that back", async () => {
  await using g = await guest(16, "fb 90 eb fd"); // sti; nop; jmp to nop
  await words(g.backend, 0x20, [0x2000n]);
  await g.backend.memory.write(0x2000n, bytes("43 cf")); // inc bx; iret
  const line = g.backend.interrupts!.line(0);
  line.raise();
  line.lower();
  await g.vcpu.run();
  assert.equal((await g.vcpu.registers()).rbx, 1n);
  line.raise();
  await g.vcpu.run();
  line.raise();
  await g.vcpu.run();
  assert.equal((await g.vcpu.registers()).rbx, 2n);
});

Deno.test("a spinning guest comes back with each slice, a kicked one at once", async () => {
  await using g = await guest(16, "40 eb fd"); // inc ax; jmp back
  assert.equal((await g.vcpu.run()).kind, "slice");
  const { rax } = await g.vcpu.registers();
  assert.ok(rax > 100n);
  g.vcpu.kick();
  assert.equal((await g.vcpu.run()).kind, "slice");
  assert.equal((await g.vcpu.registers()).rax, rax);
});

Deno.test("slices end under a storm of exits, so that nobody runs for ever", async () => {
  await using g = await guest(16, "ee eb fd"); // out dx, al; jmp back
  let exits = 0;
  while ((await g.vcpu.run()).kind !== "slice") assert.ok(++exits < 10_000);
  assert.ok(exits > 10);
});

Deno.test("trapped MSRs are answered from outside, or fail with #GP", async () => {
  await using g = await guest(16, "66b910000000 0f32 0f32 f4"); // mov ecx, 0x10; rdmsr; rdmsr; hlt
  await words(g.backend, 0x30, [0x2000n << 32n]);
  await g.backend.memory.write(0x2000n, bytes("b8efbe f4"));
  await g.vcpu.trapMsrs([0x10]);
  (await expect(g.vcpu, "msr-read")).data.set([1, 2, 3, 4, 5]);
  const second = await expect(g.vcpu, "msr-read");
  const r = await g.vcpu.registers();
  assert.deepEqual([second.index, second.reason], [0x10, "filter"]);
  assert.deepEqual([r.rax, r.rdx], [0n, 0n], "looking at registers finished it with what stood in data");
  await g.vcpu.setRegisters({ rip: 0x1006n });
  (await expect(g.vcpu, "msr-read")).fail();
  await expect(g.vcpu, "halt");
  assert.equal((await g.vcpu.registers()).rax, 0xbeefn);
});

Deno.test("what the interpreter does not know is an internal error with the bytes, and changes nothing", async () => {
  await using g = await guest(16, "d8c1 90 90"); // fadd
  const exit = await expect(g.vcpu, "internal-error");
  assert.equal(exit.suberror, 1);
  assert.deepEqual([...exit.bytes ?? []].slice(0, 3), [0xd8, 0xc1, 0x90]);
  assert.equal(g.vcpu.rip, 0x1000n);
});

Deno.test("registers: partial writes, values that do not fit, snapshots that go stale", async () => {
  await using g = await guest(16, "90 90");
  const { vcpu } = g;
  assert.throws(() => vcpu.setRegisters({ rax: 1n, ds: 0x10000n }), RangeError);
  assert.throws(() => vcpu.setRegisters({ rax: -1n }), RangeError);
  assert.equal((await vcpu.registers()).rax, 0n, "all or none");
  const st0 = 0x3fff8000000000000000n;
  await vcpu.setRegisters({ rflags: 0x40n, xmm3: 1n << 127n, st0, ftw: 0xfffcn, dr7: 0x401n });
  const r = await vcpu.registers();
  assert.deepEqual([r.rflags, r.ymm3, r.st0, r.ftw], [0x42n, 1n << 127n, st0, 0xfffcn]);
  await vcpu.step();
  assert.equal(r.rip, 0x1000n, "general registers stay");
  assert.equal(r.xmm3, 1n << 127n, "and so does a group that was read");
  assert.throws(() => r.dr7, StateError);
});

Deno.test("events can be read and set: a pending exception is taken first", async () => {
  await using g = await guest(16, "90");
  await words(g.backend, 0x10, [0x2000n << 32n]);
  await g.vcpu.injectException(5);
  assert.deepEqual((await g.vcpu.events()).exception, { vector: 5, pending: true });
  await g.vcpu.step();
  assert.equal(g.vcpu.rip, 0x2000n);
  assert.equal((await g.vcpu.events()).exception, undefined);
});

Deno.test("two vCPUs share memory and nothing else", async () => {
  const backend = createFake({ ...OPTIONS, cpus: 2 });
  await backend.memory.write(0x1000n, bytes("fe060050 f4")); // inc byte [0x5000]
  for (const vcpu of backend.vcpus) await vcpu.setRegisters(entry(16));
  await expect(backend.vcpus[1], "halt");
  assert.equal(backend.vcpus[0].rip, 0x1000n);
  await expect(backend.vcpus[0], "halt");
  assert.equal(await word(backend, 0x5000, 1), 2n);
  await backend.close();
});

Deno.test("what it has not is refused with reason and remedy; what makes no sense, with what to give", async () => {
  for (const bad of [0, 4095, -4096, 0.5]) {
    assert.throws(() => createFake({ ...OPTIONS, memory: bad }), InputError);
  }
  assert.throws(() => createFake({ ...OPTIONS, cpus: 0 }), InputError);
  assert.throws(() => createFake({ ...OPTIONS, irqchip: true }), UnsupportedError);
  const backend = createFake(OPTIONS);
  const [vcpu] = backend.vcpus;
  assert.throws(() => vcpu.lapic(), (e) => e instanceof UnsupportedError && e.remedy !== undefined);
  assert.throws(() => vcpu.readMsr(0x12345), UnsupportedError);
  assert.throws(() => vcpu.writeMsr(0xc0000080, 1n << 40n), UnsupportedError);
  assert.throws(() => backend.memory.read(0xfffffn, new Uint8Array(2)), {
    name: "FaultError",
    address: 0x100000n,
  });
  await backend.close();
  await backend.close();
  assert.throws(() => vcpu.run(), StateError);
  assert.throws(() => backend.memory.read(0n, new Uint8Array(1)), StateError);
});

Deno.test("whatever a guest holds as code and registers, it comes to an exit and never to an exception of ours", async () => {
  const general = [
    "rax",
    "rbx",
    "rcx",
    "rdx",
    "rsi",
    "rdi",
    "rsp",
    "rbp",
    "gdtr_base",
    "idtr_base",
    "tr_base",
  ] as const;
  const value = fc.oneof(fc.bigInt(0n, 0x200000n), fc.bigInt(0n, (1n << 64n) - 1n));
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<16 | 32 | 64>(16, 32, 64),
      fc.uint8Array({ minLength: 1, maxLength: 64 }),
      fc.record(Object.fromEntries(general.map((name) => [name, value]))),
      fc.boolean(),
      async (mode, code, registers, stepping) => {
        await using g = await guest(mode, "");
        await g.backend.memory.write(BigInt(CODE), code);
        await g.vcpu.setRegisters(registers as RegisterValues);
        for (let i = 0; i < (stepping ? 30 : 3); i++) {
          const exit = stepping ? await g.vcpu.step({ interrupts: true }) : await g.vcpu.run();
          assert.ok(exit.kind !== "gone" && exit.kind !== "unsupported");
          if (["halt", "shutdown", "internal-error"].includes(exit.kind)) return;
          if (i % 7 === 0) await g.backend.interrupts?.inject(0, i);
        }
      },
    ),
    { numRuns: 200, seed: 4 },
  );
});

Deno.test("a far jump from 32-bit code into a 64-bit segment goes by no limit; into one of 16 bits it does", async () => {
  // From compatibility mode: jmp 8:0x2000, whose descriptor has L and a limit of 0.
  await using g = await guest(64, "ea0020000008 00", {
    cs_attributes: 0xc09bn,
    gdtr_base: 0x3000n,
    gdtr_limit: 0x17n,
  });
  await words(g.backend, 0x3000, [0n, 0x0020_9a00_0000_0000n, 0x0000_9a00_0000_0000n]);
  await g.backend.memory.write(0x2000n, bytes("48ffc0f4")); // inc rax; hlt
  assert.equal((await run(g.vcpu)).kind, "halt");
  const { rip, cs, rax } = await g.vcpu.registers();
  assert.deepEqual([rip, cs, rax], [0x2004n, 8n, 1n]);
  await using h = await guest(64, "ea0020000010 00", {
    cs_attributes: 0xc09bn,
    gdtr_base: 0x3000n,
    gdtr_limit: 0x17n,
  });
  await words(h.backend, 0x3000, [0n, 0x0020_9a00_0000_0000n, 0x0000_9a00_0000_0000n]);
  assert.equal((await run(h.vcpu)).kind, "shutdown");
});

Deno.test("FNINIT and FNCLEX work on the x87's registers; other x87 instructions are told as unknown", async () => {
  await using g = await guest(32, "dbe3 f4", { fcw: 0x27fn, fsw: 0x3800n, ftw: 0n });
  assert.equal((await run(g.vcpu)).kind, "halt");
  const { fcw, fsw, ftw } = await g.vcpu.registers();
  assert.deepEqual([fcw, fsw, ftw], [0x37fn, 0n, 0xffffn]);
  await using h = await guest(32, "dbe2 f4", { fsw: 0x80ffn });
  assert.equal((await run(h.vcpu)).kind, "halt");
  assert.equal((await h.vcpu.registers()).fsw, 0n);
  await using i = await guest(32, "db00");
  assert.equal((await run(i.vcpu)).kind, "internal-error");
});
