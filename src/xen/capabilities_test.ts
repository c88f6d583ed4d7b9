import assert from "node:assert/strict";
import { toldCapabilities } from "./capabilities.ts";

Deno.test("a reset is the toolstack's for domains of others, and of our own those have it that hvsh loaded", () => {
  const resets = [undefined, false, true].map((own) =>
    toldCapabilities("pvh", 0, "claimed", own).get("reset")
  );
  assert.deepEqual(resets.map((row) => row?.usable), [false, false, true]);
  assert.match(resets[0]?.remedy ?? "", /xl reboot/);
  assert.match(resets[1]?.remedy ?? "", /open it anew/);
});

Deno.test("a PV guest says that it has no ports, and event channels for interrupts", () => {
  const told = toldCapabilities("pv", 0, undefined, false);
  for (const [name, reason] of [["devices", /no ports/], ["interrupts", /event channels/]] as const) {
    assert.equal(told.get(name)?.usable, false);
    assert.match(told.get(name)?.reason ?? "", reason);
  }
});
