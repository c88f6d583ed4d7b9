import assert from "node:assert/strict";
import { gva } from "../../mod.ts";
import {
  type Case,
  CODE,
  DATA,
  group,
  hex,
  needs,
  orRefused,
  PATIENCE_MS,
  pointer,
  refused,
} from "./case.ts";

const at = (offset: number) => BigInt(CODE + offset);

/** Steps. */
export const STEP_CASES: readonly Case[] = group("step", {
  "n steps are n instructions": async (c) => {
    const vm = await c.guest({ code: "fec0 fec0 fec0 fec0 90 fa f4", registers: { rax: 0n } });
    const one = await vm.step();
    assert.deepEqual([one.kind, one.rip, one.registers.rax & 0xffn], ["step", at(2), 1n]);
    const three = await vm.step(3);
    assert.deepEqual([three.kind, three.rip, three.registers.rax & 0xffn], ["step", at(8), 4n]);
    assert.equal((await vm.step({ count: 0 })).rip, at(8));
  },

  "steps follow branches and loops": async (c) => {
    // jmp over one; inc al; loop back to it
    const vm = await c.guest({ code: "eb01 90 fec0 e2fc fa f4", registers: { rax: 0n, rcx: 3n } });
    assert.equal((await vm.step()).rip, at(3));
    const stop = await vm.step(6);
    assert.deepEqual([stop.rip, stop.registers.rax & 0xffn, stop.registers.rcx & 0xffffn], [at(7), 3n, 0n]);
  },

  "a step of an access lets the device answer, and stands behind it": async (c) => {
    const seen: number[] = [];
    const device = {
      name: "port",
      ports: { start: 0x777, length: 1 },
      read: (_: number, data: Uint8Array) => void data.fill(0x2a),
      write: (_: number, data: Uint8Array) => void seen.push(data[0]),
    };
    const vm = await c.guest({
      code: "ee ec 90",
      registers: { rax: 9n, rdx: 0x777n },
      devices: [device],
    });
    assert.equal((await vm.step()).rip, at(1));
    assert.deepEqual(seen, [9]);
    const stop = await vm.step();
    assert.deepEqual([stop.rip, stop.registers.rax & 0xffn], [at(2), 0x2an]);
  },

  "a step goes into an interrupt handler and back": {
    modes: ["real"],
    async run(c) {
      const vm = await c.guest({ code: "cd21 90", mode: "real", registers: { rsp: 0x3000n } });
      await vm.memory.writeUint(BigInt(4 * 0x21), 4, 0x0000_2000n);
      await vm.memory.write(0x2000n, hex("cf"));
      assert.equal((await vm.step()).rip, 0x2000n);
      assert.equal((await vm.step()).rip, at(2));
    },
  },

  "POPF does not end the stepping, and PUSHF does not show it": {
    async run(c) {
      // push 2; popf; nop; pushf; pop (r)ax; nop
      const vm = await c.guest({ code: "6a02 9d 90 9c 58 90", registers: { rsp: BigInt(DATA), rax: 0n } });
      for (const offset of [2, 3, 4, 5]) assert.equal((await vm.step()).rip, at(offset));
      const { rip, registers } = await vm.step();
      assert.equal(rip, at(6));
      // In other modes than real mode a KVM that steps by the trap flag shows it.
      if (c.backend.mode === "real") assert.equal(registers.rax & 0xffffn, 2n);
      assert.equal(registers.rflags & 0x100n, 0n);
    },
  },

  "a pending interrupt waits while steps are done, unless it is let in": {
    modes: ["real"],
    async run(c) {
      const vm = await c.guest({
        code: "90 90 90 90 90",
        mode: "real",
        registers: { rflags: 0x202n, rsp: 0x3000n },
        irqchip: false,
      });
      needs(vm, "interrupts");
      needs(vm, "step-masks-interrupts");
      await vm.memory.writeUint(0x20n, 4, 0x2000n);
      await vm.memory.write(0x2000n, hex("90 90 90"));
      await vm.interrupts.pulse(0);
      assert.equal((await vm.step(2)).rip, at(2));
      const stop = await vm.step({ interrupts: true, count: 2 });
      assert.ok(
        stop.rip >= 0x2000n && stop.rip < 0x2003n,
        `in the handler, not at 0x${stop.rip.toString(16)}`,
      );
    },
  },

  "each is called with the registers after each step, and ends the steps with false": async (c) => {
    const vm = await c.guest({ code: "90 90 90 90 90" });
    const seen: bigint[] = [];
    const stop = await vm.step({
      count: 4,
      each: (registers) => {
        seen.push(registers.rip);
        return seen.length < 2;
      },
    });
    assert.deepEqual([stop.kind, seen], ["step", [at(1), at(2)]]);
    assert.equal(stop.rip, at(2));
  },

  "a step from a breakpoint runs the guest's own instruction": async (c) => {
    for (const kind of ["software", "hardware"] as const) {
      const vm = await c.guest({ code: "fec0 fec0 fa f4", registers: { rax: 0n } });
      const bp = await orRefused(() => vm.breakpoints.add(gva(CODE), { kind }));
      if (bp === undefined) continue;
      const stop = await vm.step();
      assert.deepEqual([stop.rip, stop.registers.rax & 0xffn], [at(2), 1n], kind);
      assert.equal(await vm.memory.readUint(at(0), 2), 0xc0fen);
    }
  },

  "stepOver takes a call as one, stepOut goes to its caller, runUntil to an address": async (c) => {
    // call rsi; inc al; cli; hlt; ... at +0x10: inc al; inc al; ret. FF D6 and C3 are the same in every mode.
    const vm = await c.guest({
      code: "ffd6 fec0 fa f4 9090909090909090 9090 fec0 fec0 c3",
      registers: { rax: 0n, rsi: at(16), rsp: BigInt(DATA) },
    });
    const over = await vm.stepOver({ timeoutMs: PATIENCE_MS });
    assert.deepEqual([over.kind, over.rip, over.registers.rax & 0xffn], ["step", at(2), 2n]);
    await vm.vcpus[0].setRegisters({ rip: at(0) });
    assert.equal((await vm.step()).rip, at(16));
    assert.equal((await vm.runUntil(gva(CODE + 18), { timeoutMs: PATIENCE_MS })).rip, at(18));
    const out = await vm.stepOut({ timeoutMs: PATIENCE_MS });
    assert.deepEqual([out.kind, out.rip, out.registers.rax & 0xffn], ["step", at(2), 4n]);
    assert.deepEqual([...vm.breakpoints], [], "none of these leaves a breakpoint");
  },

  "a callback that never returns is ended and blamed, one that throws too, and the guest lives on": async (
    c,
  ) => {
    const vm = await c.guest({ code: "fec0 fec0 fec0 fec0 90 fa f4", registers: { rax: 0n } });
    const endless = () => {
      for (;;);
    };
    const stuck = await vm.step({ count: 2, each: endless });
    assert.equal(stuck.kind, "fault");
    assert.match("reason" in stuck ? stuck.reason : "", /`each` of step\(\) did not return within 2 s/);
    const failed = await vm.step({
      each: () => {
        throw new Error("not today");
      },
    });
    assert.match("reason" in failed ? failed.reason : "", /not today/);
    assert.equal((await vm.step()).rip, at(6));
  },

  "many steps give the event loop its turns, and a pause ends them": async (c) => {
    // jmp to itself
    const vm = await c.guest({ code: "ebfe" });
    setTimeout(() => void vm.pause(), 20);
    assert.equal((await vm.step(1e9)).kind, "pause");
    let steps = 0;
    // Asked for by a step, since on a busy host the first may take longer than any timer set before it.
    const each = () => void (++steps === 3 && setTimeout(() => void vm.pause()));
    assert.equal((await vm.step({ count: 1e9, each })).kind, "pause");
    assert.ok(steps >= 3);
  },

  "a vCPU that is not there is refused": async (c) => {
    const vm = await c.guest({ code: "90 90" });
    await refused(Error, () => vm.step({ vcpu: 7 }));
    assert.equal(vm.state, "paused");
    assert.equal((await vm.step()).rip, at(1));
  },

  "a step over HLT that nothing can wake is a halt": async (c) => {
    const vm = await c.guest({ code: "fa f4 90" });
    await vm.step();
    const stop = await vm.step();
    assert.ok(stop.kind === "halt" || stop.kind === "step", stop.kind);
    assert.equal(stop.rip, at(2));
    if (stop.kind === "halt") return;
    const end = await vm.continue({ timeoutMs: PATIENCE_MS });
    assert.deepEqual([end.kind, end.rip], ["halt", at(2)]);
  },

  "steps tell the truth about memory": async (c) => {
    const vm = await c.guest({
      code: "8807 8a07 90",
      registers: { ...pointer(DATA, c.backend.mode), rax: 0x5an },
    });
    await vm.step();
    assert.equal(await vm.memory.readUint(BigInt(DATA), 1), 0x5an);
    await vm.memory.write(BigInt(DATA), [0x11]);
    assert.equal((await vm.step()).registers.rax & 0xffn, 0x11n);
  },
});
