import assert from "node:assert/strict";
import type { DeviceHost, RegisterValues } from "../../mod.ts";
import {
  type Case,
  CODE,
  type Context,
  go,
  group,
  type InterruptSource,
  NotHere,
  until,
  wants,
} from "./case.ts";

/** hvsh's own 8259 pair, as a BIOS leaves it. */
const OWN_INPUT: InterruptSource = {
  code: "",
  registers: {},
  vector: 8,
  raise: (vm) => vm.interrupts.pulse(0),
};

const at = (offset: number) => BigInt(CODE + offset);

/** Why a guest stops by itself. */
export const STOP_CASES: readonly Case[] = group("stops", {
  "HLT that nothing can wake is a halt": async (c) => {
    const vm = await c.guest({ code: "90 fa f4 90" });
    const stop = await until(vm, "halt");
    assert.deepEqual([stop.rip, stop.vcpu], [at(3), vm.vcpus[0]]);
  },

  "a halted guest can be sent elsewhere": async (c) => {
    const vm = await c.guest({ code: "90 fa f4 90" });
    await until(vm, "halt");
    await vm.vcpus[0].setRegisters({ rip: at(0) });
    assert.equal((await until(vm, "halt")).rip, at(3));
  },

  "HLT that an interrupt may wake is none": async (c) => {
    const vm = await c.guest({ code: c.backend.code?.wait ?? "fb f4 ebfd" });
    assert.equal((await vm.continue({ timeoutMs: 200 })).kind, "timeout");
  },

  "an interrupt wakes a halted guest": {
    modes: ["real"],
    async run(c) {
      const { code, registers, vector, raise } = c.backend.interrupt ?? OWN_INPUT;
      let host: DeviceHost | undefined;
      const ready = Promise.withResolvers<void>();
      // mov dx, 0x777; out dx, al; sti; hlt; mov al, 7; cli; hlt
      const vm = await c.guest({
        code: `${code} ba7707 ee fb f4 b007 fa f4`,
        mode: "real",
        registers: { ...registers, rax: 0n, rsp: 0x3000n },
        devices: [{
          name: "source",
          ports: { start: 0x777, length: 1 },
          attach: (to) => void (host = to),
          write: () => ready.resolve(),
        }],
        ...(c.backend.interrupt === undefined && { irqchip: false }),
      });
      await vm.memory.writeUint(BigInt(4 * vector), 4, 0x2000n);
      await vm.memory.write(0x2000n, [0xfe, 0xc4, 0xcf]); // inc ah; iret
      const running = go(vm);
      await Promise.race([ready.promise, running]);
      await new Promise((resolve) => setTimeout(resolve, 20));
      assert.equal(vm.state, "running", "it waits");
      await raise(vm, host!);
      const stop = await running;
      assert.deepEqual([stop.kind, stop.registers.rax & 0xffffn], ["halt", 0x107n]);
    },
  },

  "an exception without a handler is a shutdown": {
    modes: ["protected", "long"],
    async run(c) {
      // UD2 without a usable IDT
      const { unhandled } = c.backend;
      const vm = await c.guest({
        code: "0f0b",
        ...(unhandled === undefined && { registers: { idtr_limit: 0n } }),
      });
      assert.equal((await until(vm, "shutdown")).reason, unhandled ?? "triple-fault");
    },
  },

  "the debug-exit port gives its code": async (c) => {
    const vm = await c.guest({ code: "b005 e6f4 fa f4" });
    wants(c, vm, "devices");
    if (c.backend.foreign) {
      assert.deepEqual(vm.devices.list(), []);
      throw new NotHere(
        "hvsh's PC, with its debug-exit port, is not in guests that have another device model",
      );
    }
    const stop = await until(vm, "exit");
    assert.deepEqual([stop.code, stop.rip], [11, at(4)]);
    await until(vm, "halt");
  },

  "a reset that the guest asks for is a shutdown": async (c) => {
    // By port 0x92
    const vm = await c.guest({ code: c.backend.code?.reset ?? "b001 e692 fa f4" });
    assert.equal((await until(vm, "shutdown")).reason, "reset");
  },

  "an instruction that can't be run is a fault at it, with its bytes; the guest can be sent past it": async (
    c,
  ) => {
    // FADD st, st(1): outside the fake, and outside KVM's emulator where that has to run CPL 0 code
    const vm = await c.guest({ code: "90 d8c1 fec0 fa f4", registers: { rax: 1n, ...await cr0(c) } });
    const stop = await go(vm);
    if (stop.kind !== "fault") {
      assert.equal(stop.kind, c.backend.end ?? "halt", "or it is run");
      return;
    }
    assert.equal(stop.rip, at(1));
    assert.ok(stop.reason.length > 10);
    if (stop.bytes) assert.deepEqual([...stop.bytes.subarray(0, 2)], [0xd8, 0xc1]);
    await vm.vcpus[0].setRegisters({ rip: at(3) });
    assert.equal((await until(vm, "halt")).registers.rax & 0xffn, 2n);
  },

  "a stop is a snapshot: what comes later does not change it": async (c) => {
    const vm = await c.guest({ code: "fec0 fec0", registers: { rax: 0n } });
    const first = await vm.step();
    await vm.step();
    await vm.vcpus[0].setRegisters({ rax: 0x99n });
    assert.deepEqual([first.kind, first.rip, first.registers.rax], ["step", at(2), 1n]);
  },

  "two vCPUs are apart from each other": async (c) => {
    const vm = await c.guest({ code: "fec0 fec0 fa f4", cpus: 2, registers: { rax: 0n } });
    assert.deepEqual(vm.vcpus.map((v) => v.index), [0, 1]);
    const before = await vm.vcpus[1].registers();
    const stop = await vm.step({ vcpu: 0, count: 2 });
    assert.equal(stop.vcpu, vm.vcpus[0]);
    const after = await vm.vcpus[1].registers();
    assert.deepEqual([after.rip, after.rax], [before.rip, before.rax]);
    await vm.vcpus[1].setRegisters({ rbx: 77n });
    assert.notEqual((await vm.vcpus[0].registers()).rbx, 77n);
  },
});

/** CR0 as the mode starts with, without EM, TS and MP, so that x87 instructions raise nothing. */
async function cr0(c: Context): Promise<RegisterValues> {
  if (c.backend.fixed?.test("cr0")) return {};
  const vm = await c.guest({ code: "90" });
  const { cr0 } = await vm.vcpus[0].registers();
  return { cr0: cr0 & ~0xen };
}
