import assert from "node:assert/strict";
import { LazyCapabilities } from "./lazy_capabilities.ts";

const yes = { usable: true, how: "told", touches: [] };
const no = { usable: false, how: "probe", touches: [], reason: "it did not fire" };

function counted() {
  let probes = 0;
  const lazy = new LazyCapabilities(new Map([["devices", yes]]), () => {
    probes++;
    return new Map([["single-step", no]]);
  });
  return { lazy, probes: () => probes };
}

Deno.test("what is told needs no probe", () => {
  const { lazy, probes } = counted();
  assert.equal(lazy.get("devices"), yes);
  assert.equal(probes(), 0);
});

Deno.test("the first question about the rest probes, once", () => {
  const { lazy, probes } = counted();
  assert.equal(lazy.get("single-step"), no);
  assert.equal(lazy.has("nothing"), false);
  assert.equal(lazy.size, 2);
  assert.deepEqual([...lazy.keys()], ["devices", "single-step"]);
  const seen: string[] = [];
  lazy.forEach((capability, name) => seen.push(`${name} ${capability.usable}`));
  assert.deepEqual(seen, ["devices true", "single-step false"]);
  assert.equal(probes(), 1);
});
