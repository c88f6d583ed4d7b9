import assert from "node:assert/strict";
import { DebugRegisters } from "./debug_registers.ts";
import { GuestContext } from "./guest_context.ts";

Deno.test("debug registers: a step withholds execute traps, and leaves the guest's own to be put back", () => {
  const context = new GuestContext();
  context.set("dr7", 0x401n);
  context.set("dr0", 0x1111n);
  let changes = 0;
  const registers = new DebugRegisters(1, (_, body) => (changes++, body(context)));
  registers.withhold(0, true);
  assert.equal(changes, 0);
  registers.set([{ address: 0x1000n, access: "execute", size: 1 }, {
    address: 0x2000n,
    access: "write",
    size: 8,
  }]);
  assert.equal(context.get("dr7") & 0xffn, 0b101n);
  registers.withhold(0, true);
  // The data trap stays armed, in its slot.
  assert.equal(context.get("dr7") & 0xffn, 0b100n);
  assert.equal(context.get("dr1"), 0x2000n);
  registers.withhold(0, false);
  assert.equal(context.get("dr7") & 0xffn, 0b101n);
  // A step's BS, and then B0: the second is not told with the first.
  for (const [told, cause] of [[0x4000n, 0xffff_4ff0n], [1n, 0xffff_0ff1n]] as const) {
    context.set("dr6", context.get("dr6") | told);
    assert.equal(registers.takeCause(0), cause);
  }
  registers.restore();
  assert.equal(registers.takeCause(0), 0n);
  assert.deepEqual([context.get("dr7"), context.get("dr0")], [0x401n, 0x1111n]);
  const before = changes;
  registers.withhold(0, false);
  assert.equal(changes, before);
});

Deno.test("debug registers: a vCPU that is started later gets the traps, and its own back", () => {
  const contexts = [new GuestContext(), new GuestContext()];
  contexts[1].set("dr7", 0x402n);
  let started = 1;
  const registers = new DebugRegisters(2, (vcpu, body) => vcpu < started && body(contexts[vcpu]));
  registers.set([{ address: 0x1000n, access: "execute", size: 1 }]);
  registers.refresh();
  assert.equal(contexts[1].get("dr7"), 0x402n);
  started = 2;
  registers.refresh();
  assert.deepEqual(contexts.map((context) => context.get("dr7") & 0xffn), [1n, 1n]);
  registers.restore();
  assert.equal(contexts[1].get("dr7"), 0x402n);
  registers.refresh();
  assert.equal(contexts[1].get("dr7"), 0x402n);
});
