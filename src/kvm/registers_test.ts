import assert from "node:assert/strict";
import { StateError } from "../vm/errors.ts";
import {
  REGISTER_GROUPS,
  REGISTER_NAMES,
  registerBits,
  type RegisterName,
  type RegisterValues,
  SEGMENTS,
} from "../vm/registers.ts";
import { can } from "../vm/capabilities.ts";
import { kvmCapabilities } from "./capabilities.ts";
import { expectExit, guest, kvmTest, leave, long, real } from "./test_guest.ts";

/** Values of registers by name. */
function pick(registers: Readonly<Record<string, bigint>>, names: readonly string[]): Record<string, bigint> {
  return Object.fromEntries(names.map((name) => [name, registers[name]]));
}

kvmTest(
  "a new vCPU stands at the reset vector with every register readable (SDM vol. 3A, 10.1.1)",
  [],
  () => {
    using machine = guest();
    const registers = machine.vcpus[0].registers();
    for (const name of REGISTER_NAMES) {
      const value = registers[name];
      assert.equal(typeof value, "bigint", name);
      assert.ok(value >= 0n && value < 1n << BigInt(registerBits(name)), name);
    }
    assert.deepEqual(pick(registers, ["rip", "cs", "cs_base", "cs_limit", "rflags"]), {
      rip: 0xfff0n,
      cs: 0xf000n,
      cs_base: 0xffff_0000n,
      cs_limit: 0xffffn,
      rflags: 2n,
    });
    // Present, code, readable. The accessed bit is set by kvm_intel and clear by kvm_amd.
    assert.equal(registers.cs_attributes | 1n, 0x9bn);
    assert.equal(registers.cr0, 0x6000_0010n);
    assert.equal(registers.xcr0, 1n);
    assert.equal(registers.fcw & 0x37fn, registers.fcw);
  },
);

kvmTest("every general register keeps what is written, upper halves included", [], () => {
  using machine = guest();
  const vcpu = long(machine, [0xf4]);
  const values: Record<string, bigint> = {};
  REGISTER_GROUPS.general.forEach((name, i) =>
    values[name] = 0x1111_2222_3333_0000n * BigInt(i + 1) & (1n << 62n) - 1n
  );
  values.rip = 0x1000n;
  values.rflags = 0x8d7n;
  vcpu.setRegisters(values as RegisterValues);
  assert.deepEqual(pick(vcpu.registers(), Object.keys(values)), values);
  // And they are what the guest has: HLT changes none but RIP.
  expectExit(vcpu, "halt");
  assert.deepEqual(pick(vcpu.registers(), Object.keys(values)), { ...values, rip: 0x1001n });
});

kvmTest("every segment register keeps selector, base, limit and attributes", [], () => {
  using machine = guest();
  const vcpu = machine.vcpus[0];
  SEGMENTS.forEach((name, i) => {
    const attributes = name === "tr" ? 0x8bn : name === "ldtr" ? 0x82n : name === "cs" ? 0x9bn : 0x93n;
    const values = {
      [name]: BigInt(0x100 + 8 * i),
      [`${name}_base`]: BigInt(0x1000 + 8 * i) * 16n,
      [`${name}_limit`]: 0xffffn,
      [`${name}_attributes`]: attributes,
    };
    vcpu.setRegisters(values);
    assert.deepEqual(pick(vcpu.registers(), Object.keys(values)), values);
  });
  // Writing one part leaves the others.
  vcpu.setRegisters({ gs_base: 0x7000_0000_0000n });
  const { gs, gs_base, gs_limit } = vcpu.registers();
  assert.deepEqual([gs, gs_base, gs_limit], [0x120n, 0x7000_0000_0000n, 0xffffn]);
});

kvmTest("control registers, EFER, XCR0 and the descriptor tables keep what is written", [], () => {
  using machine = guest({ irqchip: true });
  const vcpu = long(machine, [0xf4]);
  const values: RegisterValues = {
    cr0: 0x8005_0033n,
    cr2: 0x1234_5678_9abcn,
    cr3: 0x5000n,
    cr4: 0x6b0n,
    cr8: 5n,
    efer: 0xd01n,
    gdtr_base: 0xffff_8000_0000_1000n,
    gdtr_limit: 0x7fn,
    idtr_base: 0xffff_8000_0000_2000n,
    idtr_limit: 0xfffn,
    xcr0: 3n,
  };
  vcpu.setRegisters(values);
  assert.deepEqual(pick(vcpu.registers(), Object.keys(values)), values);
  assert.equal(vcpu.registers().apic_base, 0xfee0_0900n);
});

kvmTest("CR8 keeps what is written without an in-kernel LAPIC, over an entry too", [], () => {
  using machine = guest();
  const vcpu = long(machine, [0xf4]);
  vcpu.setRegisters({ cr8: 9n });
  assert.equal(vcpu.registers().cr8, 9n);
  expectExit(vcpu, "halt");
  assert.equal(vcpu.registers().cr8, 9n);
});

kvmTest("debug registers keep what is written", [], () => {
  using machine = guest();
  const vcpu = machine.vcpus[0];
  const values = {
    dr0: 0x1000n,
    dr1: 0xffff_8000_0000_0000n,
    dr2: 2n,
    dr3: 3n,
    dr6: 0xffff_0ff1n,
    dr7: 0x455n,
  };
  vcpu.setRegisters(values);
  assert.deepEqual(pick(vcpu.registers(), Object.keys(values)), values);
});

kvmTest("x87, SSE and AVX registers keep what is written", ["vector"], () => {
  using machine = guest();
  const vcpu = machine.vcpus[0];
  const values: Record<string, bigint> = {
    fcw: 0x27fn,
    fsw: 0x3800n,
    fop: 0x123n,
    fip: 0x1234_5678n,
    fdp: 0x8765_4321n,
    mxcsr: 0x1f9fn,
    // TOP is 7: ST0 is R7, valid; ST1 is R0, zero; the others are empty.
    st0: 0x3fff_8000_0000_0000_0000n,
    st1: 0n,
    ftw: 0b00_11_11_11_11_11_11_01n,
  };
  for (let i = 0; i < 16; i++) values[`xmm${i}`] = (BigInt(i) << 120n) | 0xabcdefn;
  vcpu.setRegisters(values as RegisterValues);
  assert.deepEqual(pick(vcpu.registers(), Object.keys(values)), values);
  for (let i = 0; i < 16; i++) assert.equal(vcpu.registers()[`ymm${i}` as RegisterName], values[`xmm${i}`]);
});

kvmTest("the upper halves of YMM keep what is written, where the host has them", ["vector"], () => {
  using machine = guest();
  const vcpu = machine.vcpus[0];
  const wide = (1n << 255n) | (7n << 128n) | 1n;
  try {
    vcpu.setRegisters({ ymm3: wide });
  } catch (error) {
    console.log(`skipped, as this host refuses AVX state: ${(error as Error).message}`);
    return;
  }
  assert.equal(vcpu.registers().ymm3, wide);
  assert.equal(vcpu.registers().xmm3, 1n);
});

kvmTest("a snapshot stays as it was, and its slow groups can't be read too late", [], () => {
  using machine = guest();
  const vcpu = real(machine, [0x40, 0xe6, 0x10, 0x40, 0xe6, 0x10]);
  expectExit(vcpu, "io-out");
  const early = vcpu.registers();
  expectExit(vcpu, "io-out");
  const read = vcpu.registers();
  assert.equal(vcpu.registers(), read, "nothing happened: the same snapshot");
  assert.deepEqual([early.rax & 0xffffn, read.rax & 0xffffn], [1n, 2n]);
  assert.equal(read.dr7, 0x400n);
  assert.equal(typeof read.fcw, "bigint");
  vcpu.setRegisters({ rax: 3n });
  assert.deepEqual([read.rax & 0xffffn, vcpu.registers().rax], [2n, 3n]);
  assert.equal(read.dr7, 0x400n);
  assert.equal(typeof read.st0, "bigint");
  for (const name of ["dr7", "st0", "xmm0", "xcr0"] as const) {
    assert.throws(() => early[name], (e: unknown) => e instanceof StateError && e.state === "stale");
  }
  const before = vcpu.registers();
  vcpu.setRegisters({ rax: 5n });
  assert.throws(() => before.dr0, StateError);
});

kvmTest("snapshots do not share memory: hundreds keep their own values", [], () => {
  using machine = guest();
  const vcpu = machine.vcpus[0];
  const taken = Array.from({ length: 300 }, (_, i) => {
    vcpu.setRegisters({ rax: BigInt(i) });
    return vcpu.registers();
  });
  assert.ok(taken.every((registers, i) => registers.rax === BigInt(i)));
});

kvmTest("registers can be set right after an access: the instruction is finished first", [], () => {
  using machine = guest();
  // in al, 0x10; out 0x11, al
  const vcpu = real(machine, [0xe4, 0x10, 0xe6, 0x11]);
  expectExit(vcpu, "io-in").data[0] = 0x66;
  vcpu.setRegisters({ rbx: 1n });
  const { rip, rax, rbx } = vcpu.registers();
  assert.deepEqual([rip, rax & 0xffn, rbx], [0x1002n, 0x66n, 1n]);
  vcpu.setRegisters({ rax: 0x99n });
  assert.equal(expectExit(vcpu, "io-out").data[0], 0x99);
});

kvmTest("control registers that contradict each other are refused, and nothing changes", [], () => {
  using machine = guest();
  const vcpu = machine.vcpus[0];
  const before = vcpu.registers();
  // PG without PE: SDM vol. 3A, 2.5.
  let refused = false;
  try {
    vcpu.setRegisters({ cr0: 0x8000_0000n, rax: 77n });
  } catch (error) {
    refused = true;
    assert.equal((error as { call?: string }).call, "ioctl KVM_SET_SREGS");
    assert.ok((error as { remedy?: string }).remedy);
  }
  if (!refused) {
    console.log("this KVM takes CR0.PG without PE");
    return;
  }
  assert.equal(vcpu.registers().cr0, before.cr0);
  assert.equal(vcpu.registers().rax, before.rax);
});

kvmTest("values too wide are refused by name before anything is written", [], () => {
  using machine = guest();
  const vcpu = machine.vcpus[0];
  assert.throws(() => vcpu.setRegisters({ rax: 1n, cs: 0x10000n }), { name: "RangeError", message: /cs/ });
  assert.equal(vcpu.registers().rax, 0n);
});

kvmTest("moving RIP of a vCPU that sleeps in HLT wakes it", ["irqchip"], () => {
  using machine = guest({ irqchip: true });
  const vcpu = real(machine, [0xf4]);
  for (let i = 0; i < 50 && vcpu.idle() === "no"; i++) assert.equal(vcpu.run().kind, "slice");
  assert.equal(vcpu.idle(), "halted-forever");
  machine.memory.write(0x3000n, Uint8Array.of(0xe6, 0x10));
  vcpu.setRegisters({ rip: 0x3000n });
  assert.equal(vcpu.idle(), "no");
  assert.equal(leave(() => vcpu.run()).kind, "io-out");
});

kvmTest("what single registers show is what the group's structures hold", ["msrs"], () => {
  using machine = guest();
  const vcpu = long(machine, [0xf4]);
  vcpu.setRegisters({ fs_base: 0x1234_5000n, efer: 0xd01n });
  assert.equal(vcpu.readMsr(0xc000_0100), 0x1234_5000n);
  assert.equal(vcpu.readMsr(0xc000_0080), 0xd01n);
  vcpu.writeMsr(0xc000_0101, 0x77_0000n);
  assert.equal(vcpu.registers().gs_base, 0x77_0000n);
  assert.ok(can(kvmCapabilities(), "msrs"));
});
