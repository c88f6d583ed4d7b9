/** Exits that real guests produce: ports, memory-mapped I/O, MSRs, halts and failures. */

import assert from "node:assert/strict";
import type { StepRun } from "../vm/backend.ts";
import type { KvmBackend } from "./backend.ts";
import { expectExit, guest, kvmTest, leave, long, protectedMode, real } from "./test_guest.ts";
import type { KvmVcpu } from "./vcpu.ts";

kvmTest("OUT and IN of 1, 2 and 4 bytes show port, size and data, and take the answer", [], () => {
  using machine = guest();
  // mov dx, 0x1234; out dx, al; out dx, ax; out dx, eax; in al, dx; in ax, dx; in eax, dx; hlt
  const code = [0xba, 0x34, 0x12, 0xee, 0xef, 0x66, 0xef, 0xec, 0xed, 0x66, 0xed, 0xf4];
  const vcpu = real(machine, code);
  vcpu.setRegisters({ rax: 0x1122_3344n });
  for (const bytes of [[0x44], [0x44, 0x33], [0x44, 0x33, 0x22, 0x11]]) {
    const exit = expectExit(vcpu, "io-out");
    assert.deepEqual([exit.port, exit.size, exit.count, [...exit.data]], [0x1234, bytes.length, 1, bytes]);
  }
  const answers = [0x1122_33a5n, 0x1122_a5a5n, 0xa5a5_a5a5n];
  for (let i = 0; i < 3; i++) {
    const exit = expectExit(vcpu, "io-in");
    assert.deepEqual([exit.port, exit.data.length], [0x1234, 1 << i]);
    exit.data.fill(0xa5);
    assert.equal(vcpu.settle(), undefined);
    assert.equal(vcpu.registers().rax, answers[i]);
  }
  expectExit(vcpu, "halt");
});

kvmTest("string output shows every byte in order, whatever way KVM cuts it", [], () => {
  using machine = guest();
  // mov dx, 0x42; mov si, 0x3000; mov cx, 700; rep outsb; hlt
  const vcpu = real(machine, [0xba, 0x42, 0, 0xbe, 0, 0x30, 0xb9, 0xbc, 0x02, 0xf3, 0x6e, 0xf4]);
  const text = Uint8Array.from({ length: 700 }, (_, i) => i * 7 & 0xff);
  machine.memory.write(0x3000n, text);
  const seen: number[] = [];
  for (;;) {
    const exit = leave(() => vcpu.run());
    if (exit.kind === "halt") break;
    assert.ok(exit.kind === "io-out" && exit.port === 0x42 && exit.size === 1);
    assert.equal(exit.data.length, exit.count);
    seen.push(...exit.data);
  }
  assert.deepEqual(seen, [...text]);
  assert.equal(vcpu.registers().rcx, 0n);
});

kvmTest("string input fills guest memory from every answer, counts included", [], () => {
  using machine = guest();
  // mov dx, 0x42; mov di, 0x3000; mov cx, 300; rep insw; hlt
  const vcpu = real(machine, [0xba, 0x42, 0, 0xbf, 0, 0x30, 0xb9, 0x2c, 0x01, 0xf3, 0x6d, 0xf4]);
  vcpu.setRegisters({ es: 0n, es_base: 0n });
  let next = 0;
  let counted = 0;
  for (;;) {
    const exit = leave(() => vcpu.run());
    if (exit.kind === "halt") break;
    assert.ok(exit.kind === "io-in" && exit.size === 2);
    assert.equal(exit.data.length, 2 * exit.count);
    counted += exit.count;
    for (let i = 0; i < exit.data.length; i++) exit.data[i] = next++ * 3 & 0xff;
  }
  assert.equal(counted, 300);
  const into = new Uint8Array(600);
  machine.memory.read(0x3000n, into);
  assert.deepEqual([...into], Array.from({ length: 600 }, (_, i) => i * 3 & 0xff));
});

kvmTest("an access in a string instruction settles alone, and the rest goes on", [], () => {
  using machine = guest();
  // mov dx, 0x42; mov di, 0x3000; mov cx, 3; rep insb; hlt
  const vcpu = real(machine, [0xba, 0x42, 0, 0xbf, 0, 0x30, 0xb9, 3, 0, 0xf3, 0x6c, 0xf4]);
  vcpu.setRegisters({ es: 0n, es_base: 0n });
  let reads = 0;
  let exit = leave(() => vcpu.run());
  while (exit.kind === "io-in") {
    exit.data.fill(++reads);
    // What the same instruction still wants is answered here, as a debugger that stops must.
    for (let more = vcpu.settle(); more !== undefined; more = vcpu.settle()) {
      assert.ok(more.kind === "io-in");
      more.data.fill(++reads);
    }
    const { rip } = vcpu.registers();
    assert.ok(rip === 0x1009n || rip === 0x100bn, `RIP 0x${rip.toString(16)}`);
    exit = leave(() => vcpu.run());
  }
  assert.equal(exit.kind, "halt");
  assert.equal(vcpu.registers().rdi & 0xffffn, 0x3003n);
});

/** An address that holds no memory, inside the first GiB that `long` maps. */
const HOLE = 0x1000_0000n;

/** One instruction on memory at [rbx], what it reads, and what it writes. */
interface Form {
  readonly name: string;
  readonly code: readonly number[];
  /** Bytes it reads, 0 for none; the answer is 0x11 in each. */
  readonly reads?: number;
  /** Bytes it writes, with RAX = 0x0807060504030201. */
  readonly writes?: readonly number[];
}

const RAX = [1, 2, 3, 4, 5, 6, 7, 8];

const FORMS: readonly Form[] = [
  { name: "mov [rbx], al", code: [0x88, 0x03], writes: RAX.slice(0, 1) },
  { name: "mov [rbx], ax", code: [0x66, 0x89, 0x03], writes: RAX.slice(0, 2) },
  { name: "mov [rbx], eax", code: [0x89, 0x03], writes: RAX.slice(0, 4) },
  { name: "mov [rbx], rax", code: [0x48, 0x89, 0x03], writes: RAX },
  { name: "mov al, [rbx]", code: [0x8a, 0x03], reads: 1 },
  { name: "mov ax, [rbx]", code: [0x66, 0x8b, 0x03], reads: 2 },
  { name: "mov eax, [rbx]", code: [0x8b, 0x03], reads: 4 },
  { name: "mov rax, [rbx]", code: [0x48, 0x8b, 0x03], reads: 8 },
  { name: "mov dword [rbx], imm32", code: [0xc7, 0x03, 9, 8, 7, 6], writes: [9, 8, 7, 6] },
  { name: "movzx eax, byte [rbx]", code: [0x0f, 0xb6, 0x03], reads: 1 },
  { name: "movsx eax, word [rbx]", code: [0x0f, 0xbf, 0x03], reads: 2 },
  { name: "add [rbx], eax", code: [0x01, 0x03], reads: 4, writes: [0x12, 0x13, 0x14, 0x15] },
  { name: "or dword [rbx], eax", code: [0x09, 0x03], reads: 4, writes: [0x11, 0x13, 0x13, 0x15] },
  { name: "inc dword [rbx]", code: [0xff, 0x03], reads: 4, writes: [0x12, 0x11, 0x11, 0x11] },
  { name: "xchg [rbx], eax", code: [0x87, 0x03], reads: 4, writes: RAX.slice(0, 4) },
  { name: "test dword [rbx], eax", code: [0x85, 0x03], reads: 4 },
  { name: "cmp [rbx], eax", code: [0x39, 0x03], reads: 4 },
  { name: "stosd", code: [0xab], writes: RAX.slice(0, 4) },
];

kvmTest(
  `${FORMS.length} forms of memory-mapped access: address, size, data, and what the guest gets`,
  [],
  () => {
    using machine = guest();
    for (const { name, code, reads = 0, writes } of FORMS) {
      const vcpu = long(machine, [...code, 0xf4]);
      vcpu.setRegisters({ rax: 0x0807_0605_0403_0201n, rbx: HOLE, rdi: HOLE });
      if (reads > 0) {
        const exit = expectExit(vcpu, "mmio-read");
        assert.deepEqual([exit.address, exit.data.length], [HOLE, reads], name);
        exit.data.fill(0x11);
      }
      if (writes !== undefined) {
        const exit = expectExit(vcpu, "mmio-write");
        assert.deepEqual([exit.address, [...exit.data]], [HOLE, [...writes]], name);
      }
      expectExit(vcpu, "halt");
      const { rip, rax } = vcpu.registers();
      assert.equal(rip, BigInt(0x1001 + code.length), name);
      if (name.startsWith("mov") && reads === 8) assert.equal(rax, 0x1111_1111_1111_1111n);
      if (name === "mov eax, [rbx]") assert.equal(rax, 0x1111_1111n);
      if (name === "mov al, [rbx]") assert.equal(rax, 0x0807_0605_0403_0211n);
      if (name.startsWith("xchg")) assert.equal(rax, 0x1111_1111n);
    }
  },
);

kvmTest("an access that only half lies in memory, or across eight bytes, comes in parts", [], () => {
  using machine = guest();
  const end = 1 << 20;
  const vcpu = long(machine, [0x48, 0x8b, 0x03, 0xf4]);
  machine.memory.write(BigInt(end - 4), Uint8Array.of(1, 2, 3, 4));
  vcpu.setRegisters({ rbx: BigInt(end - 4) });
  const exit = expectExit(vcpu, "mmio-read");
  assert.deepEqual([exit.address, exit.data.length], [BigInt(end), 4]);
  exit.data.fill(0x77);
  assert.equal(vcpu.settle(), undefined);
  assert.equal(vcpu.registers().rax, 0x7777_7777_0403_0201n);
});

kvmTest("movs from nowhere to nowhere reads, then writes, in one instruction", [], () => {
  using machine = guest();
  const vcpu = long(machine, [0xa4, 0xf4]);
  vcpu.setRegisters({ rsi: HOLE, rdi: HOLE + 0x100n });
  const read = expectExit(vcpu, "mmio-read");
  assert.equal(read.address, HOLE);
  read.data[0] = 0x5c;
  // A debugger that stops at the read has to answer the write before the instruction is done.
  const write = vcpu.settle();
  assert.ok(write?.kind === "mmio-write");
  assert.deepEqual([write.address, [...write.data]], [HOLE + 0x100n, [0x5c]]);
  assert.equal(vcpu.settle(), undefined);
  assert.equal(vcpu.registers().rip, 0x1001n);
});

kvmTest("registers() in the middle of such an instruction refuses, and nothing is lost", [], () => {
  using machine = guest();
  const vcpu = long(machine, [0xa4, 0xf4]);
  vcpu.setRegisters({ rsi: HOLE, rdi: HOLE + 0x100n });
  expectExit(vcpu, "mmio-read").data[0] = 0x5c;
  assert.throws(() => vcpu.registers(), { name: "StateError", state: "in flight" });
  assert.throws(() => vcpu.run(), { name: "StateError", state: "in flight" });
  const write = vcpu.settle();
  assert.ok(write?.kind === "mmio-write" && write.data[0] === 0x5c);
  assert.equal(vcpu.settle(), undefined);
  assert.equal(vcpu.registers().rip, 0x1001n);
  expectExit(vcpu, "halt");
});

kvmTest("a write to ROM leaves as MMIO, and ROM stays", [], () => {
  const bytes = new Uint8Array(5000).fill(0xee);
  using machine = guest({ roms: [{ name: "rom", at: 0x20_0000n, bytes }] });
  assert.deepEqual(machine.memory.regions.map((r) => [r.name, r.start, r.size, r.readOnly]), [
    ["ram", 0n, 0x10_0000n, false],
    ["rom", 0x20_0000n, 0x2000n, true],
  ]);
  // mov [rbx], al; mov al, [rbx]; hlt
  const vcpu = long(machine, [0x88, 0x03, 0x8a, 0x03, 0xf4]);
  vcpu.setRegisters({ rbx: 0x20_0000n, rax: 5n });
  const exit = expectExit(vcpu, "mmio-write");
  assert.deepEqual([exit.address, [...exit.data]], [0x20_0000n, [5]]);
  expectExit(vcpu, "halt");
  assert.equal(vcpu.registers().rax, 0xeen);
});

kvmTest("RDMSR and WRMSR of trapped MSRs leave; the answer or #GP reaches the guest", ["msr-exits"], () => {
  using machine = guest();
  // mov ecx, 0x174; rdmsr; wrmsr; hlt
  const vcpu = long(machine, [0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, 0x0f, 0x30, 0xf4]);
  vcpu.writeMsr(0x174, 0x10n);
  vcpu.trapMsrs([0x174, 0xc000_0080]);
  const read = expectExit(vcpu, "msr-read");
  assert.deepEqual([read.index, read.reason], [0x174, "filter"]);
  new DataView(read.data.buffer, read.data.byteOffset).setBigUint64(0, 0x1234_5678_9abc_def0n, true);
  const write = expectExit(vcpu, "msr-write");
  assert.equal(write.index, 0x174);
  const written = new DataView(write.data.buffer, write.data.byteOffset).getBigUint64(0, true);
  assert.equal(written, 0x1234_5678_9abc_def0n);
  expectExit(vcpu, "halt");
  assert.equal(vcpu.readMsr(0x174), 0x10n, "the trapped write must not have been done");
  // #GP without an IDT is a triple fault.
  vcpu.setRegisters({ rip: 0x1005n, idtr_limit: 0n });
  expectExit(vcpu, "msr-read").fail();
  expectExit(vcpu, "shutdown");
});

kvmTest("the answer to an MSR exit may come from readMsr() and go to writeMsr()", ["msr-exits"], () => {
  using machine = guest();
  // mov ecx, 0x174; rdmsr; inc eax; wrmsr; hlt
  const vcpu = long(machine, [0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, 0xff, 0xc0, 0x0f, 0x30, 0xf4]);
  vcpu.writeMsr(0x174, 0x40n);
  vcpu.trapMsrs([0x174]);
  const read = expectExit(vcpu, "msr-read");
  new DataView(read.data.buffer, read.data.byteOffset).setBigUint64(0, vcpu.readMsr(read.index), true);
  const write = expectExit(vcpu, "msr-write");
  vcpu.writeMsr(write.index, new DataView(write.data.buffer, write.data.byteOffset).getBigUint64(0, true));
  expectExit(vcpu, "halt");
  assert.equal(vcpu.readMsr(0x174), 0x41n);
  assert.equal(vcpu.registers().rax, 0x41n);
});

kvmTest("MSRs that are no longer trapped do not leave", ["msr-exits"], () => {
  using machine = guest();
  const vcpu = long(machine, [0xb9, 0x74, 1, 0, 0, 0x0f, 0x32, 0xf4]);
  vcpu.writeMsr(0x174, 0x1bn);
  vcpu.trapMsrs([0x174]);
  vcpu.trapMsrs([]);
  expectExit(vcpu, "halt");
  assert.equal(vcpu.registers().rax, 0x1bn);
});

kvmTest("a triple fault is a shutdown", [], () => {
  using machine = guest();
  const vcpu = long(machine, [0x0f, 0x0b]);
  vcpu.setRegisters({ idtr_limit: 0n });
  expectExit(vcpu, "shutdown");
});

kvmTest("an instruction that can't be emulated shows its bytes", ["emulation-failure-bytes"], () => {
  using machine = guest();
  const vcpu = long(machine, [0xd9, 0x03, 0xf4]);
  vcpu.setRegisters({ rbx: HOLE });
  const exit = expectExit(vcpu, "internal-error");
  assert.deepEqual([exit.suberror, [...exit.bytes!.subarray(0, 3)]], [1, [0xd9, 0x03, 0xf4]]);
  assert.equal(vcpu.registers().rip, 0x1000n);
});

kvmTest("INT n in 64-bit code enters its handler, whether KVM knows it or not", [], () => {
  using machine = guest();
  // int 0x30; hlt; at 0x1010: inc rbx; hlt
  const vcpu = long(machine, [0xcd, 0x30, 0xf4, ...Array(13).fill(0x90), 0x48, 0xff, 0xc3, 0xf4]);
  // Code of selector 8, and the 64-bit gate to 0x1010 with it.
  machine.memory.write(0x5008n, Uint8Array.of(0xff, 0xff, 0, 0, 0, 0x9b, 0xaf, 0));
  machine.memory.write(BigInt(0x6000 + 16 * 0x30), Uint8Array.of(0x10, 0x10, 8, 0, 0, 0x8e, 0, 0));
  vcpu.setRegisters({ gdtr_base: 0x5000n, gdtr_limit: 15n, idtr_base: 0x6000n, idtr_limit: 0xfffn, rbx: 0n });
  expectExit(vcpu, "halt");
  const { rip, rbx, rsp } = vcpu.registers();
  const frame = new Uint8Array(8);
  machine.memory.read(rsp, frame);
  assert.deepEqual([rip, rbx, new DataView(frame.buffer).getBigUint64(0, true)], [0x1014n, 1n, 0x1002n]);
});

/** A guest before "int 0x30; hlt" in 32-bit code, whose handler is "inc ebx; iret". */
function withHandler(machine: KvmBackend): KvmVcpu {
  const vcpu = protectedMode(machine, [0xcd, 0x30, 0xf4, ...Array(13).fill(0x90), 0x43, 0xcf]);
  const gate = Uint8Array.of(0x10, 0x10, 8, 0, 0, 0x8e, 0, 0);
  machine.memory.write(BigInt(0x3000 + 8 * 0x30), gate);
  return vcpu;
}

/** The handler ran once and returned before RIP. */
function returned(vcpu: KvmVcpu, rip: bigint): void {
  const { rbx, rsp, rflags, ...now } = vcpu.registers();
  assert.deepEqual([now.rip, rbx, rsp, rflags & 0x203n], [rip, 1n, 0x8000n, 0x202n]);
}

kvmTest("32-bit handlers of interrupts begin and end, whether KVM knows INT n and IRET or not", [], () => {
  using machine = guest();
  const vcpu = withHandler(machine);
  expectExit(vcpu, "halt");
  returned(vcpu, 0x1003n);
});

for (const way of ["step", "steps"] as const) {
  kvmTest(
    `the same by ${way === "step" ? "single steps" : "steps in a row"}`,
    ["single-step-handlers"],
    () => {
      using machine = guest();
      const vcpu = withHandler(machine);
      for (let left = 3; left > 0;) {
        const { exit, done }: StepRun = way === "steps"
          ? vcpu.steps(left, {})
          : { exit: vcpu.step(), done: 0 };
        if (exit?.kind === "debug") left--;
        else if (exit !== undefined) assert.equal(exit.kind, "slice");
        left -= done;
      }
      returned(vcpu, 0x1002n);
    },
  );
}
