import assert from "node:assert/strict";
import { DebugConsole } from "./debug_console.ts";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";

function subject() {
  const printed: number[] = [];
  const device = new DebugConsole({ name: "debugcon", port: 0x402, sink: (b) => printed.push(...b) });
  return { device, guest: new MockGuest([device]), printed };
}

Deno.test("debug console: prints what is written, reads 0xe9", () => {
  const { guest, printed, device } = subject();
  for (const byte of [0x53, 0x65, 0x61]) guest.out(0x402, byte);
  assert.deepEqual(printed, [0x53, 0x65, 0x61]);
  assert.equal(guest.in(0x402), 0xe9);
  assert.equal(guest.in(0x402, 2), 0xffe9); // only one port answers
  guest.out(0x402, 0x1234, 2);
  assert.equal(printed.at(-1), 0x34);
  assert.equal(device.inspect().printed, 4);
});

Deno.test("debug console: any sequence, saved states", () => {
  anySequence(subject, { seed: 402, runs: 50 });
  refusesForeign(subject().device);
});
