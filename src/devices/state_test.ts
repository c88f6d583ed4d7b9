import assert from "node:assert/strict";
import { bits, restoreRecord, saveRecord, type Shape, type Upgrades } from "./state.ts";

interface State {
  low: number;
  high: number;
}

const SHAPE: Shape<State> = { low: bits(8), high: bits(8) };
/** Version 1 had both in one number called "both", version 2 called it "value". */
const UPGRADES: Upgrades = {
  1: ({ both }) => ({ value: both }),
  2: ({ value }) => ({ low: Number(value) & 0xff, high: Number(value) >> 8 }),
};
const restore = (saved: unknown) => restoreRecord("thing", 3, SHAPE, saved, UPGRADES);

Deno.test("saved states: one of this release comes back, and is a copy", () => {
  const state = { low: 1, high: 2 };
  const saved = saveRecord("thing", 3, state);
  state.low = 9;
  assert.deepEqual(restore(JSON.parse(JSON.stringify(saved))), { low: 1, high: 2 });
});

Deno.test("saved states: those of earlier releases are brought up to date, version by version", () => {
  assert.deepEqual(restore({ device: "thing", version: 2, value: 0x0201 }), { low: 1, high: 2 });
  assert.deepEqual(restore({ device: "thing", version: 1, both: 0x0403 }), { low: 3, high: 4 });
});

Deno.test("saved states: one of a later release, of none, or a damaged old one is refused", () => {
  for (const version of [0, 4, 1.5, "1", undefined]) {
    assert.throws(() => restore({ device: "thing", version, low: 1, high: 2 }), { name: "InputError" });
  }
  assert.throws(() => restore({ device: "thing", version: 1, both: 0x12345 }), /thing.high/);
});
