import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { Pvpanic } from "./pvpanic.ts";

function subject() {
  const events: string[] = [];
  const device = new Pvpanic({
    onPanic: () => events.push("panic"),
    onCrashLoaded: () => events.push("crash kernel"),
  });
  return { device, guest: new MockGuest([device]), events };
}

Deno.test("pvpanic: says which events it knows, and tells of each", () => {
  const { guest, events } = subject();
  assert.equal(guest.in(0x505, 1), 3);
  for (const value of [1, 2, 3, 0, 0xfc]) guest.out(0x505, value, 1);
  assert.deepEqual(events, ["panic", "crash kernel", "panic"]);
});

Deno.test("pvpanic: any sequence, saved states", () => {
  anySequence(subject, { seed: 505, runs: 50 });
  refusesForeign(subject().device);
});
