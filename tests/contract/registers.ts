import assert from "node:assert/strict";
import {
  InputError,
  REGISTER_GROUPS,
  registerBits,
  type RegisterName,
  type RegisterValues,
  StateError,
  UnsupportedError,
} from "../../mod.ts";
import { type Case, DATA, ended, group, needs, pointer, refused } from "./case.ts";

const IDLE = "90 90 fa f4";
/** IA32_SYSENTER_ESP. */
const SYSENTER_ESP = 0x175;

/** A value of all widths whose bytes differ. */
function pattern(name: RegisterName, seed: number): bigint {
  let value = 0n;
  for (let i = 0; i < 32; i++) value = value << 8n | BigInt((seed * 37 + i * 11 + name.length) & 0xff);
  return BigInt.asUintN(registerBits(name), value);
}

async function roundTrip(c: Parameters<Case["run"]>[0], values: RegisterValues): Promise<void> {
  const vm = await c.guest({ code: IDLE });
  const [vcpu] = vm.vcpus;
  const [set = [], fixed = []] = [false, true].map((wanted) =>
    (Object.entries(values) as [RegisterName, bigint][]).filter(([name]) =>
      (c.backend.fixed?.test(name) ?? false) === wanted
    )
  );
  const { rax } = await vcpu.registers();
  for (const [name, value] of fixed) {
    const error = await refused(UnsupportedError, () => vcpu.setRegisters({ rax: rax + 1n, [name]: value }));
    assert.equal(error.feature, name);
    assert.equal((await vcpu.registers()).rax, rax, "nothing is set beside what can't be");
  }
  await vcpu.setRegisters(Object.fromEntries(set));
  const registers = await vcpu.registers();
  for (const [name, value] of set) {
    assert.equal(`${name}=${registers[name].toString(16)}`, `${name}=${value.toString(16)}`);
  }
}

/** Registers by group. */
export const REGISTER_CASES: readonly Case[] = group("registers", {
  "general registers keep all their bits": async (c) => {
    const names = REGISTER_GROUPS.general.filter((n) => n !== "rip" && n !== "rflags");
    const values = Object.fromEntries(names.map((n, i) => [n, pattern(n, i)]));
    // Xen takes stack pointers of PV guests that are canonical, and leaves RFLAGS.IF set.
    const rsp = BigInt.asUintN(47, pattern("rsp", 7));
    await roundTrip(c, { ...values, rsp, rip: 0x1001n, rflags: 0xad7n });
  },

  "segment registers keep selector, base, limit and attributes": async (c) => {
    await roundTrip(c, {
      fs: 0x1230n,
      fs_base: 0x12300n,
      fs_limit: 0xffffn,
      gs: 0x10n,
      gs_base: 0x45670n,
      gs_attributes: 0x93n,
      gs_limit: 0xffffn,
    });
  },

  "descriptor tables and control registers keep their values": async (c) => {
    await roundTrip(c, {
      cr2: 0x1234567890n,
      gdtr_base: 0x4000n,
      gdtr_limit: 0x7fn,
      idtr_base: 0x5000n,
      idtr_limit: 0x3ffn,
    });
  },

  "debug registers keep their values": async (c) => {
    await roundTrip(c, { dr0: 0x1000n, dr1: 0x2000n, dr2: 0x3000n, dr3: 0x4000n });
  },

  "FPU registers keep their values": async (c) => {
    const vm = await c.guest({ code: IDLE });
    needs(vm, "vector");
    await roundTrip(c, { st0: 0x3fff8000000000000000n, st7: 0xbfff8000000000000001n, fcw: 0x27fn });
  },

  "vector registers keep all their bits": async (c) => {
    const vm = await c.guest({ code: IDLE });
    needs(vm, "vector");
    await roundTrip(c, { xmm0: pattern("xmm0", 1), xmm7: pattern("xmm7", 2), mxcsr: 0x1fa0n });
  },

  "setting some registers leaves the others": async (c) => {
    const vm = await c.guest({ code: IDLE, registers: { rax: 1n, rbx: 2n, fs_base: 0x1000n } });
    const [vcpu] = vm.vcpus;
    await vcpu.setRegisters({ rbx: 3n });
    await vcpu.setRegisters({ fs: 7n });
    const { rax, rbx, fs, fs_base } = await vcpu.registers();
    assert.deepEqual([rax, rbx, fs, fs_base], [1n, 3n, 7n, 0x1000n]);
  },

  "a value that does not fit is refused, and nothing is set": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const [vcpu] = vm.vcpus;
    const before = (await vcpu.registers()).rax;
    await refused(RangeError, () => vcpu.setRegisters({ rax: 5n, rbx: 1n << 64n }));
    await refused(RangeError, () => vcpu.setRegisters({ rax: 5n, ds: 0x10000n }));
    await refused(RangeError, () => vcpu.setRegisters({ rax: -1n }));
    await refused(InputError, () => vcpu.setRegisters({ rax: 5n, eax: 1n } as RegisterValues));
    assert.equal((await vcpu.registers()).rax, before);
  },

  "the guest has what was set, and what it changes is seen": async (c) => {
    // mov [p], al; inc al; mov al, [p + 0]: one byte there, one back
    const vm = await c.guest({
      code: "8807 fec0 fec0 fa f4",
      registers: { ...pointer(DATA, c.backend.mode), rax: 0x41n },
    });
    const stop = await ended(c, vm);
    assert.equal(await vm.memory.readUint(BigInt(DATA), 1), 0x41n);
    assert.equal(stop.registers.rax & 0xffn, 0x43n);
    assert.equal(stop.rip, stop.registers.rip);
    const now = await vm.vcpus[0].registers();
    assert.deepEqual([now.rax, now.rip], [stop.registers.rax, stop.rip]);
  },

  "a snapshot stays as it was; a group first read after the guest went on is refused": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const [vcpu] = vm.vcpus;
    const snapshot = await vcpu.registers();
    const debug = snapshot.dr0;
    await vm.step();
    assert.equal(snapshot.rip, 0x1000n);
    assert.equal((await vcpu.registers()).rip, 0x1001n);
    assert.equal(snapshot.dr0, debug, "a group that was read stays");
    needs(vm, "vector");
    await refused(StateError, () => snapshot.mxcsr);
  },

  "MSRs are listed, read and written; one that is not there is refused": async (c) => {
    const vm = await c.guest({ code: IDLE });
    needs(vm, "msrs");
    const [vcpu] = vm.vcpus;
    const { msr = SYSENTER_ESP } = c.backend;
    assert.ok((await vcpu.msrs()).includes(msr));
    await vcpu.writeMsr(msr, 0x123456n);
    assert.equal(await vcpu.readMsr(msr), 0x123456n);
    await refused(Error, () => vcpu.readMsr(0x7fff_1234));
  },
});
