import assert from "node:assert/strict";
import { ManagedBreakpoint, type Means } from "./breakpoint.ts";

/** Means that take a turn to go in and out, and count. */
function slowMeans(): Means & { in: number } {
  const means = {
    how: "hlt" as const,
    in: 0,
    async arm() {
      await undefined;
      means.in++;
    },
    async disarm() {
      await undefined;
      means.in--;
    },
  };
  return means;
}

function breakpoint(means: Means): ManagedBreakpoint {
  const place = { address: 0x1000n, space: "gva", access: "execute", size: 1n } as const;
  return new ManagedBreakpoint(1, place, means, {}, () => {});
}

Deno.test("switched on twice at once, it is in once, and removal takes it out", async () => {
  const means = slowMeans();
  const bp = breakpoint(means);
  await Promise.all([bp.enable(true), bp.enable(true)]);
  assert.equal(means.in, 1);
  await bp.remove();
  assert.equal(means.in, 0);
});

Deno.test("of changes at once the last one counts", async () => {
  const means = slowMeans();
  const bp = breakpoint(means);
  await bp.enable(true);
  await Promise.all([bp.enable(false), bp.enable(true)]);
  assert.deepEqual([bp.enabled, means.in], [true, 1]);
  await Promise.all([bp.enable(true), bp.remove()]);
  assert.deepEqual([bp.enabled, means.in], [false, 0]);
});
