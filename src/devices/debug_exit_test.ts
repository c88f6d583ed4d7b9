import assert from "node:assert/strict";
import { DebugExit } from "./debug_exit.ts";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";

function subject() {
  const codes: number[] = [];
  const device = new DebugExit({ onExit: (code) => codes.push(code) });
  return { device, guest: new MockGuest([device]), codes };
}

Deno.test("debug exit: the code is (value << 1) | 1, for every width", () => {
  const { guest, codes } = subject();
  guest.out(0xf4, 0, 1);
  guest.out(0xf4, 0x10, 4);
  guest.out(0xf4, 0x1234, 2);
  guest.out(0xf4, 0xffffffff, 4);
  assert.deepEqual(codes, [1, 0x21, 0x2469, 0xffffffff]);
  assert.equal(guest.in(0xf4, 4), 0);
});

Deno.test("debug exit: any sequence, saved states", () => {
  anySequence(subject, { seed: 244, runs: 50 });
  refusesForeign(subject().device);
});
