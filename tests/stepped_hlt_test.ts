/** HLT stepped over on KVM: what is let run from there sleeps until an interrupt comes, and its handler runs to its end. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { flat, gva, hosts, MiB, open } from "../mod.ts";

const kvm = (await hosts()).find(({ backend }) => backend === "kvm");
const ignore = kvm?.usable !== true;
if (ignore) console.log(`skipped: ${kvm?.reason}`);

/** At 0x1000 in real mode: the 8259's IRQ 0 is vector 8, whose handler counts in CX; STI; HLT; INC BX; JMP to the HLT. */
const CODE = Uint8Array.from([
  ...[0xc7, 0x06, 0x20, 0x00, 0x40, 0x10], // mov word [0x20], 0x1040
  ...[0xb0, 0x11, 0xe6, 0x20, 0xb0, 0x08, 0xe6, 0x21], // ICW1, ICW2
  ...[0xb0, 0x04, 0xe6, 0x21, 0xb0, 0x01, 0xe6, 0x21], // ICW3, ICW4
  ...[0xb0, 0xfe, 0xe6, 0x21, 0xfb, 0x90], // IRQ 0 alone; sti; nop
  ...[0xf4, 0x43, 0xeb, 0xfc], // hlt; inc bx; jmp
  ...new Uint8Array(0x40 - 32),
  ...[0xb0, 0x20, 0xe6, 0x20, 0x41, 0xcf], // end of interrupt; inc cx; iret
]);
const HLT = 0x101cn;

const CASES = [
  { when: "waits before the step", before: true, after: false, steps: 1 },
  { when: "comes after the step", before: false, after: true, steps: 1 },
  { when: "waits while more is stepped", before: true, after: false, steps: 2 },
] as const;

for (const irqchip of [true, false]) {
  const where = irqchip ? "KVM's interrupt controllers" : "interrupt controllers of hvsh's";
  const guest = () => open({ backend: "kvm", memory: MiB(2), irqchip, boot: flat(CODE, { at: 0x1000 }) });
  for (const { when, before, after, steps } of CASES) {
    Deno.test({
      name: `an interrupt that ${when} over HLT is handled when the guest goes on, with ${where}`,
      ignore,
      fn: async () => {
        await using vm = await guest();
        await vm.runUntil(gva(HLT), { timeoutMs: 10_000 });
        if (before) await vm.interrupts.pulse(0);
        for (let i = 0; i < steps; i++) await vm.step();
        if (after) await vm.interrupts.pulse(0);
        const stop = await vm.continue({ timeoutMs: 300 });
        assert.equal(stop.kind, "timeout");
        assert.equal(stop.registers.rcx & 0xffffn, 1n);
        await vm.interrupts.pulse(0);
        assert.equal((await vm.continue({ timeoutMs: 300 })).registers.rcx & 0xffffn, 2n);
      },
    });
  }
  Deno.test({
    name: `a guest goes on sleeping behind a HLT that was stepped over, with ${where}`,
    ignore,
    fn: async () => {
      await using vm = await guest();
      await vm.runUntil(gva(HLT), { timeoutMs: 10_000 });
      await vm.step();
      const stop = await vm.continue({ timeoutMs: 300 });
      assert.deepEqual([stop.kind, stop.rip, stop.registers.rbx & 0xffffn], ["timeout", HLT + 1n, 0n]);
    },
  });
}
