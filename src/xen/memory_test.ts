import assert from "node:assert/strict";
import { HostError } from "../host/error.ts";
import { StateError } from "../vm/errors.ts";
import type { FrameCache } from "./frames.ts";
import { XenMemory } from "./memory.ts";

const ESRCH = 3;
const PAGE = { read: () => {}, write: () => {}, writable: true };

Deno.test("memory: what fails because the domain is gone is told as that", () => {
  let gone = false;
  const memory = new XenMemory(
    { page: (frame: number) => frame === 1 && !gone ? PAGE : undefined } as unknown as FrameCache,
    {
      frame: (guest) => guest,
      regions: () => {
        throw new HostError("xc_domain_maximum_gpfn", ESRCH);
      },
    },
    {
      alive: () => {},
      needLiving: () => {
        if (gone) throw new StateError("Domain 7 is gone, or being destroyed", "gone");
      },
    },
  );
  const bytes = new Uint8Array(1);
  memory.read(0x1000n, bytes);
  assert.throws(() => memory.read(0x2000n, bytes), { name: "FaultError" });
  assert.throws(() => memory.regions, { name: "ESRCH" });
  gone = true;
  const state = { name: "StateError", state: "gone" };
  assert.throws(() => memory.regions, state);
  assert.throws(() => memory.read(0x1000n, bytes), state);
  assert.throws(() => memory.write(0x1000n, bytes), state);
  assert.throws(() => memory.page(0x1000n), state);
});
