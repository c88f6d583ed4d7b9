/** Running real guests: steps, traps, time slices, interrupts, several vCPUs, reset. */

import assert from "node:assert/strict";
import { StateError, UnsupportedError } from "../vm/errors.ts";
import type { VmExit } from "../vm/exit.ts";
import type { Registers } from "../vm/registers.ts";
import type { KvmVcpu } from "./vcpu.ts";
import { CODE, expectExit, guest, kvmTest, leave, long, real } from "./test_guest.ts";

/** Steps once, through slices. */
function stepped(vcpu: KvmVcpu, options?: Parameters<KvmVcpu["step"]>[0]): VmExit {
  return leave(() => vcpu.step(options));
}

/** RIP after each of `count` steps. */
function trail(vcpu: KvmVcpu, count: number): number[] {
  return Array.from({ length: count }, () => {
    assert.equal(stepped(vcpu).kind, "debug");
    return Number(vcpu.registers().rip);
  });
}

kvmTest(
  "steps go one instruction at a time, through jumps, and tell where they stand",
  ["single-step"],
  () => {
    using machine = guest();
    // inc rax; nop; jmp back
    const vcpu = long(machine, [0x48, 0xff, 0xc0, 0x90, 0xeb, 0xfa]);
    assert.deepEqual(trail(vcpu, 6), [0x1003, 0x1004, 0x1000, 0x1003, 0x1004, 0x1000]);
    assert.equal(vcpu.registers().rax, 2n);
    const exit = stepped(vcpu);
    assert.ok(exit.kind === "debug" && exit.exception === 1 && (exit.dr6 & 0x4000n) !== 0n);
    assert.equal(exit.pc, 0x1003n);
  },
);

// Without these two every step is looked after by itself, and there is no row.
kvmTest("steps in a row show each moment's registers: the general ones for ever, segments then", [
  "single-step",
  "single-step-handlers",
  "single-step-popf",
], () => {
  using machine = guest();
  // inc rax; xor ebx, edx; bswap rcx; jmp back
  const vcpu = long(machine, [0x48, 0xff, 0xc0, 0x31, 0xd3, 0x48, 0x0f, 0xc9, 0xeb, 0xf6]);
  vcpu.setRegisters({ rbx: 0n, rdx: 0n, rcx: 0x1234_5678n, rax: 0xffff_ffffn });
  const all: Registers[] = [];
  const ds: bigint[] = [];
  // Longer than KVM brings segments along by itself after they were asked for once.
  let done = 0;
  while (done < 300) {
    const run = vcpu.steps(300 - done, {}, (registers) => {
      all.push(registers);
      if (all.length % 100 < 2) ds.push(registers.ds);
      return true;
    });
    done += run.done;
    assert.ok(run.exit === undefined || run.exit.kind === "slice", run.exit?.kind);
  }
  let rax = 0xffff_ffffn, rcx = 0x1234_5678n;
  all.forEach(({ rip, rax: seen, rbx, rcx: swapped, r15 }, i) => {
    if (i % 4 === 0) rax++;
    if (i % 4 === 2) rcx = rcx === 0x1234_5678n ? 0x7856_3412n << 32n : 0x1234_5678n;
    assert.deepEqual({ rip, rax: seen, rbx, rcx: swapped, r15 }, {
      rip: [0x1003n, 0x1005n, 0x1008n, 0x1000n][i % 4],
      rax,
      rbx: 0n,
      rcx,
      r15: 0n,
    });
  });
  assert.deepEqual(ds, Array(6).fill(0x10n));
  assert.throws(() => all[180].cs_base, StateError);
  assert.equal(all[99].ds, 0x10n, "what was read once stays");
});

kvmTest("a step works right after RIP or RFLAGS were set, and after a run", ["single-step"], () => {
  using machine = guest();
  const vcpu = long(machine, [0x90, 0x90, 0x90, 0xe6, 0x10, 0x90, 0x90, 0x90]);
  assert.deepEqual(trail(vcpu, 1), [0x1001]);
  vcpu.setRegisters({ rip: 0x1000n });
  assert.deepEqual(trail(vcpu, 1), [0x1001]);
  vcpu.setRegisters({ rflags: 0x8d7n });
  assert.deepEqual(trail(vcpu, 1), [0x1002]);
  expectExit(vcpu, "io-out");
  vcpu.settle();
  assert.deepEqual(trail(vcpu, 2), [0x1006, 0x1007]);
  assert.equal(vcpu.registers().rflags & 0x100n, 0n, "TF must not be seen");
});

kvmTest("stepping over an access gives the access, then the end of that instruction", ["single-step"], () => {
  using machine = guest();
  // in al, 0x10; inc rbx
  const vcpu = long(machine, [0xe4, 0x10, 0x48, 0xff, 0xc3]);
  const access = stepped(vcpu);
  assert.ok(access.kind === "io-in");
  access.data[0] = 0x21;
  const exit = stepped(vcpu);
  assert.ok(exit.kind === "debug" && exit.pc === 0x1002n);
  const { rip, rax, rbx } = vcpu.registers();
  assert.deepEqual([rip, rax, rbx], [0x1002n, 0x21n, 0n]);
  assert.deepEqual(trail(vcpu, 1), [0x1005]);
});

kvmTest("stepping a read-modify-write of MMIO gives read, write, end", ["single-step"], () => {
  using machine = guest();
  const vcpu = long(machine, [0xff, 0x03, 0x90]);
  vcpu.setRegisters({ rbx: 0x1000_0000n });
  const read = stepped(vcpu);
  assert.ok(read.kind === "mmio-read");
  read.data.fill(0);
  const write = stepped(vcpu);
  assert.ok(write.kind === "mmio-write" && write.data[0] === 1);
  assert.equal(stepped(vcpu).kind, "debug");
  assert.equal(vcpu.registers().rip, 0x1002n);
});

kvmTest("a step after an access that run() reported does a whole instruction more", ["single-step"], () => {
  using machine = guest();
  const vcpu = long(machine, [0xe6, 0x10, 0x90, 0x90]);
  expectExit(vcpu, "io-out");
  assert.equal(stepped(vcpu).kind, "debug");
  assert.equal(vcpu.registers().rip, 0x1003n);
});

kvmTest("execute traps stop before the instruction; data traps and removal", ["breakpoint-hardware"], () => {
  using machine = guest();
  const vcpu = long(machine, [0x48, 0xff, 0xc0, 0x48, 0xff, 0xc3, 0xeb, 0xf8]);
  vcpu.setTraps({ hardware: [undefined, { address: 0x1003n, access: "execute", size: 1 }], int3: false });
  const exit = expectExit(vcpu, "debug");
  assert.equal(exit.dr6 & 0xfn, 2n, "slot 1");
  assert.deepEqual([exit.pc, vcpu.registers().rax, vcpu.registers().rbx], [0x1003n, 1n, 0n]);
  // A step leaves execute traps out, so that it gets over the one it stands on.
  assert.equal(stepped(vcpu).kind, "debug");
  assert.deepEqual([vcpu.registers().rip, vcpu.registers().rbx], [0x1006n, 1n]);
  expectExit(vcpu, "debug");
  assert.deepEqual([vcpu.registers().rip, vcpu.registers().rax], [0x1003n, 2n]);
  vcpu.setTraps({ hardware: [], int3: false });
  assert.equal(vcpu.run().kind, "slice");
  assert.equal(vcpu.registers().dr7, 0x400n, "the guest's own debug registers are untouched");
});

kvmTest("watchpoints by debug register stop after the write", ["watchpoint-hardware"], () => {
  using machine = guest();
  const vcpu = long(machine, [0x89, 0x03, 0x90, 0xf4]);
  vcpu.setRegisters({ rbx: 0x6000n });
  vcpu.setTraps({ hardware: [{ address: 0x6000n, access: "write", size: 4 }], int3: false });
  expectExit(vcpu, "debug");
  assert.equal(vcpu.registers().rip, 0x1002n);
});

kvmTest("INT3 is told where the host can", ["breakpoint-int3"], () => {
  using machine = guest();
  const vcpu = long(machine, [0x90, 0xcc]);
  vcpu.setTraps({ hardware: [], int3: true });
  const exit = expectExit(vcpu, "debug");
  assert.deepEqual([exit.exception, exit.pc, vcpu.registers().rip], [3, 0x1001n, 0x1001n]);
});

kvmTest("a slice ends a guest that never leaves, again and again, and the event loop lives", [], async () => {
  using machine = guest();
  for (const setUp of [real, long]) {
    const vcpu = setUp(machine, [0xeb, 0xfe]);
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    for (let i = 0; i < 20; i++) {
      assert.equal(vcpu.run().kind, "slice");
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    clearInterval(timer);
    assert.ok(turns >= 10);
    assert.equal(vcpu.registers().rip, BigInt(CODE));
  }
});

kvmTest(
  "a timer that ran out between two entries costs nothing of the guest's",
  ["single-step"],
  async () => {
    using machine = guest();
    const vcpu = long(machine, new Array(64).fill(0x90));
    stepped(vcpu);
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(vcpu.step().kind, "slice");
    assert.equal(vcpu.registers().rip, 0x1001n);
    assert.deepEqual(trail(vcpu, 3), [0x1002, 0x1003, 0x1004]);
  },
);

kvmTest("kick() makes the next run return, once, whatever is in flight", [], () => {
  using machine = guest();
  const vcpu = long(machine, [0x90, 0xe6, 0x10, 0xe6, 0x11]);
  vcpu.kick();
  assert.equal(vcpu.run().kind, "slice");
  assert.equal(vcpu.registers().rip, 0x1000n);
  expectExit(vcpu, "io-out");
  vcpu.kick();
  assert.equal(vcpu.settle(), undefined);
  assert.equal(vcpu.run().kind, "slice");
  assert.equal(vcpu.registers().rip, 0x1003n);
  assert.equal(expectExit(vcpu, "io-out").port, 0x11);
});

kvmTest(
  "segments and events come with the exits only while they are asked for, and are those of now",
  [],
  () => {
    using machine = guest();
    // mov ds, ax; inc ax; out 0x10, al; and again.
    const vcpu = real(machine, [0x8e, 0xd8, 0x40, 0xe6, 0x10, 0xeb, 0xf9]);
    const early = vcpu.registers();
    for (let i = 0n; i < 200n; i++) {
      expectExit(vcpu, "io-out");
      // Asked for now and then, several times in a row, and not at all for longer than they come by themselves.
      if (i > 20n && i < 190n && !(i < 60n && i % 3n === 0n)) continue;
      const now = vcpu.registers();
      assert.deepEqual([now.rax, now.ds, now.ds_base], [i + 1n, i, i << 4n]);
    }
    vcpu.injectException(6);
    vcpu.setRegisters({ rbx: 1n });
    assert.equal(vcpu.events().exception?.vector, 6);
    assert.deepEqual([early.ds, early.rax], [0n, 0n]);
  },
);

kvmTest("HLT leaves without an irqchip, and sleeps in the kernel with one", ["irqchip"], () => {
  using alone = guest();
  const vcpu = real(alone, [0xf4]);
  expectExit(vcpu, "halt");
  assert.equal(vcpu.idle(), "halted-forever");
  vcpu.setRegisters({ rip: BigInt(CODE), rflags: 0x202n });
  expectExit(vcpu, "halt");
  assert.equal(vcpu.idle(), "halted");
  using machine = guest({ irqchip: true });
  const sleeper = real(machine, [0xf4]);
  assert.equal(sleeper.idle(), "no");
  // On a busy host a slice may be over before the guest's first instruction.
  for (let i = 0; i < 100 && sleeper.idle() === "no"; i++) assert.equal(sleeper.run().kind, "slice");
  assert.equal(sleeper.idle(), "halted-forever");
});

/** A real-mode handler for `vector` at 0x5000 + vector: mov al, vector; out 0x10, al; iret. */
function handler(machine: ReturnType<typeof guest>, vector: number): void {
  const at = 0x5000 + vector * 8;
  machine.memory.write(BigInt(at), Uint8Array.of(0xb0, vector, 0xe6, 0x10, 0xcf));
  machine.memory.write(BigInt(vector * 4), Uint8Array.of(at & 0xff, at >> 8, 0, 0));
}

kvmTest(
  "without an irqchip lines and vectors reach the guest as soon as it lets them",
  ["interrupts"],
  () => {
    using machine = guest();
    for (const vector of [0x09, 0x77, 0x40]) handler(machine, vector);
    // cli; nop; out 0x20, al; sti; nop; out 0x21, al; jmp $
    const vcpu = real(machine, [0xfa, 0x90, 0xe6, 0x20, 0xfb, 0x90, 0xe6, 0x21, 0xeb, 0xfe]);
    machine.interrupts.line(1).raise();
    assert.equal(machine.interrupts.pending(0), false, "IF is 0");
    assert.equal(expectExit(vcpu, "io-out").port, 0x20, "masked until STI");
    // A KVM that emulates may run on a little before it looks whether the window is open.
    const next = [0, 1].map(() => {
      const { port, data } = expectExit(vcpu, "io-out");
      return [port, port === 0x10 ? data[0] : 0];
    });
    assert.deepEqual(next.toSorted(([a], [b]) => a - b), [[0x10, 0x09], [0x21, 0]]);
    machine.interrupts.line(15).raise();
    machine.interrupts.inject(0, 0x40);
    const second = expectExit(vcpu, "io-out");
    assert.deepEqual([second.port, second.data[0]], [0x10, 0x77]);
    const third = expectExit(vcpu, "io-out");
    assert.deepEqual([third.port, third.data[0]], [0x10, 0x40]);
    // A high line is not taken twice; one that fell before it was taken is taken all the same, as edges are.
    const line = machine.interrupts.line(1);
    line.raise();
    line.raise();
    line.lower();
    assert.equal(expectExit(vcpu, "io-out").data[0], 0x09);
    assert.equal(machine.interrupts.pending(0), false);
    assert.equal(vcpu.run().kind, "slice");
  },
);

kvmTest(
  "a guest that lets interrupts in for two instructions of each round gets them",
  ["interrupts"],
  () => {
    using machine = guest();
    handler(machine, 0x09);
    // again: mov cx, 200; loop $; sti; nop; nop; cli; jmp again
    const vcpu = real(machine, [0xb9, 0xc8, 0x00, 0xe2, 0xfe, 0xfb, 0x90, 0x90, 0xfa, 0xeb, 0xf5]);
    assert.equal(vcpu.run().kind, "slice");
    for (let i = 0; i < 3; i++) {
      machine.interrupts.line(1).raise();
      machine.interrupts.line(1).lower();
      let exit = vcpu.run();
      // However busy the host is: each of these slices does at least a step of the search.
      for (let slices = 0; exit.kind === "slice" && slices < 3000; slices++) exit = vcpu.run();
      assert.equal(exit.kind, "io-out");
      // IRET, back into the loop.
      vcpu.settle();
    }
  },
);

kvmTest("an interrupt wakes a guest from HLT without an irqchip", ["interrupts"], () => {
  using machine = guest();
  handler(machine, 0x08);
  const vcpu = real(machine, [0xfb, 0xf4, 0xe6, 0x22]);
  expectExit(vcpu, "halt");
  assert.equal(vcpu.idle(), "halted");
  machine.interrupts.line(0).raise();
  assert.equal(machine.interrupts.pending(0), true);
  assert.equal(expectExit(vcpu, "io-out").data[0], 0x08);
  assert.equal(expectExit(vcpu, "io-out").port, 0x22);
});

kvmTest(
  "a step holds a waiting interrupt back, or lets it in when told to",
  ["interrupts", "single-step"],
  () => {
    using machine = guest();
    handler(machine, 0x08);
    const vcpu = real(machine, [0x90, 0x90, 0x90, 0x90, 0xeb, 0xfe]);
    vcpu.setRegisters({ rflags: 0x202n });
    assert.deepEqual(trail(vcpu, 1), [0x1001]);
    machine.interrupts.line(0).raise();
    assert.deepEqual(trail(vcpu, 2), [0x1002, 0x1003]);
    let inside = false;
    for (let i = 0; i < 4 && !inside; i++) {
      stepped(vcpu, { interrupts: true });
      inside = vcpu.registers().rip >= 0x5000n;
    }
    assert.ok(inside, "the handler was not entered");
  },
);

/** Code that sets the 8259 pair up as a BIOS does (base 8), masks all but IRQ 0 and 1, and enables interrupts. */
const PIC_SETUP = [
  ...[[0x20, 0x11], [0x21, 0x08], [0x21, 0x04], [0x21, 0x01], [0x21, 0xfc]].flatMap((
    [port, value],
  ) => [0xb0, value, 0xe6, port]),
  0xfb,
];

kvmTest("with the irqchip a raised line wakes HLT and enters the handler", ["irqchip"], () => {
  using machine = guest({ irqchip: true });
  handler(machine, 0x09);
  const vcpu = real(machine, [...PIC_SETUP, 0xf4, 0xeb, 0xfd]);
  for (let i = 0; i < 20 && vcpu.idle() === "no"; i++) assert.equal(vcpu.run().kind, "slice");
  assert.equal(vcpu.idle(), "halted");
  const line = machine.interrupts.line(1);
  line.raise();
  assert.equal(expectExit(vcpu, "io-out").data[0], 0x09);
  line.lower();
});

kvmTest("the timer in the kernel interrupts by itself", ["irqchip", "pit"], () => {
  using machine = guest({ irqchip: true, pit: true });
  handler(machine, 0x08);
  // Channel 0, mode 2, the highest count.
  const pit = [0xb0, 0x34, 0xe6, 0x43, 0xb0, 0, 0xe6, 0x40, 0xe6, 0x40];
  const vcpu = real(machine, [...pit, ...PIC_SETUP, 0xf4, 0xeb, 0xfd]);
  const exit = expectExit(vcpu, "io-out");
  assert.deepEqual([exit.port, exit.data[0]], [0x10, 0x08]);
});

kvmTest("a step masks interrupts of the irqchip too, where the host can", [
  "irqchip",
  "step-masks-interrupts",
], () => {
  using machine = guest({ irqchip: true });
  handler(machine, 0x09);
  const vcpu = real(machine, [...PIC_SETUP, 0xe6, 0x30, 0x90, 0x90, 0x90, 0x90]);
  const at = CODE + PIC_SETUP.length + 2;
  assert.equal(expectExit(vcpu, "io-out").port, 0x30);
  vcpu.settle();
  machine.interrupts.line(1).raise();
  assert.deepEqual(trail(vcpu, 3), [at + 1, at + 2, at + 3]);
});

kvmTest("an NMI reaches the guest with interrupts off, and wakes it", ["nmi"], () => {
  using machine = guest();
  handler(machine, 2);
  const vcpu = real(machine, [0xfa, 0xf4, 0xe6, 0x22]);
  expectExit(vcpu, "halt");
  machine.interrupts.nmi(0);
  assert.equal(machine.interrupts.pending(0), true);
  assert.equal(expectExit(vcpu, "io-out").data[0], 2);
  assert.equal(expectExit(vcpu, "io-out").port, 0x22);
  assert.throws(() => machine.interrupts.nmi(1), RangeError);
});

kvmTest("an injected exception enters its handler, also after registers were set", ["events"], () => {
  using machine = guest();
  handler(machine, 6);
  const vcpu = real(machine, [0x90, 0xe6, 0x20]);
  vcpu.injectException(6);
  assert.deepEqual(vcpu.events().exception?.vector, 6);
  vcpu.setRegisters({ rbx: 7n });
  const exit = expectExit(vcpu, "io-out");
  assert.deepEqual([exit.port, exit.data[0]], [0x10, 6]);
  assert.equal(vcpu.registers().rbx, 7n);
  assert.equal(vcpu.events().exception, undefined);
  assert.throws(() => vcpu.injectException(32), RangeError);
  vcpu.setEvents({ nmiMasked: true });
  assert.equal(vcpu.events().nmiMasked, true);
});

kvmTest("MSRs: what KVM lists can be read; unknown ones are refused", ["msrs"], () => {
  using machine = guest();
  const [vcpu] = machine.vcpus;
  const readable = vcpu.msrs().filter((index) => {
    try {
      return vcpu.readMsr(index) >= 0n;
    } catch (error) {
      assert.ok(error instanceof UnsupportedError);
      return false;
    }
  });
  for (const index of [0x10, 0x1b, 0x174, 0xc000_0080, 0xc000_0081, 0xc000_0101]) {
    assert.ok(readable.includes(index), `MSR 0x${index.toString(16)}`);
  }
  vcpu.writeMsr(0x174, 0xabcn);
  assert.equal(vcpu.readMsr(0x174), 0xabcn);
  assert.throws(() => vcpu.readMsr(0x4000_0fff), UnsupportedError);
  assert.throws(() => vcpu.writeMsr(0x4000_0fff, 1n), UnsupportedError);
  assert.throws(() => vcpu.writeMsr(0x174, 1n << 64n), RangeError);
});

kvmTest("the LAPIC's page is there with an irqchip and refused without", ["lapic"], () => {
  using machine = guest({ irqchip: true });
  const [vcpu] = machine.vcpus;
  const page = vcpu.lapic();
  assert.equal(page.length, 1024);
  page[0x80] = 0x30;
  vcpu.setLapic(page);
  assert.equal(vcpu.lapic()[0x80], 0x30);
  assert.throws(() => vcpu.setLapic(new Uint8Array(3)), { name: "InputError" });
  using without = guest();
  assert.throws(() => without.vcpus[0].lapic(), UnsupportedError);
});

kvmTest("the XSAVE area can be read, written back, and has one size", ["vector"], () => {
  using machine = guest();
  const [vcpu] = machine.vcpus;
  vcpu.setRegisters({ xmm5: 0x1234n });
  const area = vcpu.xsave();
  vcpu.setRegisters({ xmm5: 1n });
  vcpu.setXsave(area);
  assert.equal(vcpu.registers().xmm5, 0x1234n);
  assert.throws(() => vcpu.setXsave(new Uint8Array(512)), { name: "InputError" });
});

kvmTest(
  "a second vCPU waits for SIPI, starts where it says, and has its own APIC id",
  ["irqchip"],
  async () => {
    using machine = guest({ irqchip: true, cpus: 2 });
    const [first, second] = machine.vcpus;
    assert.deepEqual([first.idle(), second.idle()], ["no", "wait-for-sipi"]);
    assert.equal(second.run().kind, "slice");
    // At 0x7000: mov eax, 1; cpuid; shr ebx, 24; mov al, bl; out 0x33, al.
    const trampoline = [0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2, 0x66, 0xc1, 0xeb, 24, 0x88, 0xd8, 0xe6, 0x33];
    machine.memory.write(0x7000n, Uint8Array.from(trampoline));
    // INIT, then SIPI with vector 7, to all but the sender (SDM vol. 3A, 12.6.1), and halt.
    const send = (value: number) => [0xc7, 0x03, value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, 0];
    const sender = long(machine, [...send(0xc4500), ...send(0xc4607), 0xf4]);
    sender.setRegisters({ rbx: 0xfee0_0300n });
    // The LAPIC's page lies above the first GiB: map it.
    machine.memory.write(0x3018n, new Uint8Array(BigUint64Array.of(0x5007n).buffer));
    machine.memory.write(0x5fb8n, new Uint8Array(BigUint64Array.of(0xfee0_0087n).buffer));
    let exit = sender.run();
    for (let i = 0; i < 40 && exit.kind === "slice"; i++) {
      exit = i % 2 === 0 ? second.run() : sender.run();
    }
    assert.ok(exit.kind === "io-out" && exit.port === 0x33, exit.kind);
    assert.equal(exit.data[0], 1);
    assert.equal(second.registers().cs_base, 0x7000n);
    await machine.close();
  },
);

kvmTest("reset puts vCPU, controllers and timer back; memory stays", ["reset", "irqchip", "pit"], () => {
  using machine = guest({ irqchip: true, pit: true });
  const [vcpu] = machine.vcpus;
  const fresh = { ...lookAt(vcpu), lapic: [...vcpu.lapic()] };
  real(machine, [...PIC_SETUP, 0xe4, 0x70]);
  vcpu.setRegisters({ rbx: 5n, dr0: 6n, xmm1: 7n, cr2: 8n });
  vcpu.writeMsr(0x174, 9n);
  vcpu.setEvents({ nmiMasked: true });
  expectExit(vcpu, "io-in");
  machine.reset();
  assert.deepEqual({ ...lookAt(vcpu), lapic: [...vcpu.lapic()] }, fresh);
  const byte = new Uint8Array(1);
  machine.memory.read(BigInt(CODE), byte);
  assert.equal(byte[0], 0xb0);
  // It runs again, with the controllers in their power-on state.
  handler(machine, 0x09);
  real(machine, [...PIC_SETUP, 0xf4]);
  for (let i = 0; i < 20 && vcpu.idle() === "no"; i++) assert.equal(vcpu.run().kind, "slice");
  machine.interrupts.line(1).raise();
  assert.equal(expectExit(vcpu, "io-out").data[0], 0x09);
});

/** What reset must put back. */
function lookAt(vcpu: KvmVcpu) {
  const { rip, rbx, rflags, cs_base, cr0, cr2, dr0, dr6, xmm1, mxcsr, xcr0, apic_base } = vcpu.registers();
  const msr = vcpu.readMsr(0x174);
  return {
    rip,
    rbx,
    rflags,
    cs_base,
    cr0,
    cr2,
    dr0,
    dr6,
    xmm1,
    mxcsr,
    xcr0,
    apic_base,
    msr,
    ...vcpu.events(),
  };
}

kvmTest("reset wakes a vCPU from a triple fault", ["reset"], () => {
  using machine = guest();
  const vcpu = long(machine, [0x0f, 0x0b]);
  vcpu.setRegisters({ idtr_limit: 0n });
  expectExit(vcpu, "shutdown");
  machine.reset();
  assert.equal(vcpu.registers().rip, 0xfff0n);
  real(machine, [0xe6, 0x44]);
  assert.equal(expectExit(vcpu, "io-out").port, 0x44);
});
