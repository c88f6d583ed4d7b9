import assert from "node:assert/strict";
import { type Spare, Spares } from "./spares.ts";

const spare = (name: string, cpus = 1): Spare => ({
  name,
  kind: "pvh",
  memory: 4096,
  cpus,
  pristine: new Uint8Array(8),
});

Deno.test("spares: several guests that are closed together are all kept, and given away by size", () => {
  const destroyed: string[] = [];
  const spares = new Spares((name) => destroyed.push(name));
  for (const one of [spare("a"), spare("b", 2), spare("c")]) spares.put(one);
  assert.deepEqual(destroyed, []);
  assert.equal(spares.take("pvh", 4096, 2)?.name, "b");
  assert.equal(spares.take("pvh", 4096, 2), undefined);
  assert.equal(spares.take("pvh", 8192, 1), undefined);
  assert.equal(spares.take("pvh", 4096, 1)?.name, "c", "the one that was kept last");
  spares.clear();
  assert.deepEqual(destroyed, ["a"], "what was given away is not destroyed");
});

Deno.test("spares: the oldest makes room, and one that can't be destroyed keeps none of the others", () => {
  const destroyed: string[] = [];
  const spares = new Spares((name) => {
    destroyed.push(name);
    if (name === "c") throw new Error("xl failed");
  });
  for (const name of ["a", "b", "c", "d"]) spares.put(spare(name));
  assert.deepEqual(destroyed, ["a"]);
  assert.throws(() => spares.clear(), /xl failed/);
  assert.deepEqual(destroyed.sort(), ["a", "b", "c", "d"]);
  spares.clear();
});
