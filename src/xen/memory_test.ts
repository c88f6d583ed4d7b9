import assert from "node:assert/strict";
import { HostError } from "../host/error.ts";
import type { FrameCache } from "./frames.ts";
import { XenMemory } from "./memory.ts";
import { DomainRunner } from "./runner.ts";

const ESRCH = 3;
const PAGE = { read: () => {}, write: () => {}, writable: true };

Deno.test("memory: what fails because the domain is gone is told as that", () => {
  let gone = false;
  const runner = new DomainRunner({
    control: { pause: () => {}, unpause: () => true, listDomains: () => gone ? 0 : 1 },
    domain: 0,
    strategy: () => assert.fail("nothing is run"),
    goesOn: () => {},
  });
  const memory = new XenMemory(
    { page: (frame: number) => frame === 1 && !gone ? PAGE : undefined } as unknown as FrameCache,
    {
      frame: (guest) => guest,
      regions: () => {
        throw new HostError("xc_domain_maximum_gpfn", ESRCH);
      },
    },
    runner,
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
