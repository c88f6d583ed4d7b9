import assert from "node:assert/strict";
import fc from "fast-check";
import type { Shadow } from "./backend.ts";
import { ShadowMap, type Span } from "./shadow.ts";

interface Area extends Span {
  readonly name: string;
  readonly readOnly?: boolean;
}

const cut = (area: Area, span: Span, readOnly: boolean): Area => ({ ...span, name: area.name, readOnly });
const move = (area: Area, by: number): Area => ({ ...area, from: area.from + by, to: area.to + by });
const show = (areas: readonly Area[]) =>
  areas.map((a) => `${a.name} ${a.from.toString(16)}-${a.to.toString(16)}${a.readOnly ? " ro" : ""}`);

const RAM: Area = { name: "ram", from: 0, to: 0x1000 };
const ROM: Area = { name: "rom", from: 0x400, to: 0x600 };

Deno.test("shadow: a ROM hides the RAM below it until something is asked for", () => {
  const map = new ShadowMap();
  assert.deepEqual(map.lay(RAM, [], cut, move), [RAM]);
  assert.deepEqual(show(map.lay(RAM, [ROM], cut, move)), ["ram 0-400", "rom 400-600 ro", "ram 600-1000"]);
  map.set({ from: 0x500, to: 0x600 }, "ram");
  assert.deepEqual(show(map.lay(RAM, [ROM], cut, move)), [
    "ram 0-400",
    "rom 400-500 ro",
    "ram 500-600",
    "ram 600-1000",
  ]);
});

Deno.test("shadow: where no ROM is, asking for one leaves nothing", () => {
  const map = new ShadowMap();
  map.set({ from: 0x200, to: 0x500 }, "rom");
  assert.deepEqual(show(map.lay(RAM, [ROM], cut, move)), [
    "ram 0-200",
    "rom 400-500 ro",
    "rom 500-600 ro",
    "ram 600-1000",
  ]);
});

Deno.test("shadow: below is what the guest meets 1 MiB below, ROM and holes too, until it is RAM again", () => {
  const MiB = 0x10_0000;
  const ram: Area = { name: "ram", from: 0, to: 3 * MiB };
  const map = new ShadowMap();
  map.set({ from: 0x200, to: 0x300 }, "rom");
  map.set({ from: MiB, to: 2 * MiB }, "below");
  const low = ["ram 0-200", "ram 300-400", "rom 400-600 ro"];
  assert.deepEqual(show(map.lay(ram, [ROM], cut, move)), [
    ...[...low, "ram 600-100000"],
    ...["ram 100000-100200", "ram 100300-100400", "rom 100400-100600 ro", "ram 100600-200000"],
    "ram 200000-300000",
  ]);
  map.set({ from: MiB, to: 2 * MiB }, "ram");
  assert.deepEqual(show(map.lay(ram, [ROM], cut, move)), [
    ...low,
    ...["ram 600-100000", "ram 100000-200000", "ram 200000-300000"],
  ]);
  map.set({ from: 0, to: 0x100 }, "below");
  assert.equal(show(map.lay(ram, [], cut, move))[0], "ram 100-200", "nothing is below the first megabyte");
});

Deno.test("shadow: each byte has what was asked for last", () => {
  const span = fc.tuple(fc.nat(0xfff), fc.nat(0xfff)).map(([a, b]) => ({
    from: Math.min(a, b),
    to: Math.max(a, b) + 1,
  }));
  const how = fc.constantFrom<Shadow>("ram", "rom", "read-only");
  fc.assert(fc.property(fc.array(fc.tuple(span, how), { maxLength: 12 }), (changes) => {
    const map = new ShadowMap();
    for (const [where, what] of changes) map.set(where, what);
    const areas = map.lay(RAM, [ROM], cut, move);
    for (let at = 0; at < 0x1000; at += 0x3d) {
      const inRom = at >= ROM.from && at < ROM.to;
      const asked = changes.findLast(([s]) => at >= s.from && at < s.to)?.[1] ?? (inRom ? "rom" : "ram");
      const found = areas.filter((a) => at >= a.from && at < a.to);
      const want = asked === "rom" ? (inRom ? ["rom", true] : undefined) : ["ram", asked === "read-only"];
      assert.deepEqual(found.map((a) => [a.name, a.readOnly]), want === undefined ? [] : [want]);
    }
  }));
});
