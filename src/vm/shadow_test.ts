import assert from "node:assert/strict";
import fc from "fast-check";
import type { Shadow } from "./backend.ts";
import { ShadowMap, type Span } from "./shadow.ts";

interface Area extends Span {
  readonly name: string;
  readonly readOnly?: boolean;
}

const cut = (area: Area, span: Span, readOnly: boolean): Area => ({ ...span, name: area.name, readOnly });
const show = (areas: readonly Area[]) =>
  areas.map((a) => `${a.name} ${a.from.toString(16)}-${a.to.toString(16)}${a.readOnly ? " ro" : ""}`);

const RAM: Area = { name: "ram", from: 0, to: 0x1000 };
const ROM: Area = { name: "rom", from: 0x400, to: 0x600 };

Deno.test("shadow: a ROM hides the RAM below it until something is asked for", () => {
  const map = new ShadowMap();
  assert.deepEqual(map.lay(RAM, [], cut), [RAM]);
  assert.deepEqual(show(map.lay(RAM, [ROM], cut)), ["ram 0-400", "rom 400-600 ro", "ram 600-1000"]);
  map.set({ from: 0x500, to: 0x600 }, "ram");
  assert.deepEqual(show(map.lay(RAM, [ROM], cut)), [
    "ram 0-400",
    "rom 400-500 ro",
    "ram 500-600",
    "ram 600-1000",
  ]);
});

Deno.test("shadow: where no ROM is, asking for one leaves nothing", () => {
  const map = new ShadowMap();
  map.set({ from: 0x200, to: 0x500 }, "rom");
  assert.deepEqual(show(map.lay(RAM, [ROM], cut)), [
    "ram 0-200",
    "rom 400-500 ro",
    "rom 500-600 ro",
    "ram 600-1000",
  ]);
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
    const areas = map.lay(RAM, [ROM], cut);
    for (let at = 0; at < 0x1000; at += 0x3d) {
      const inRom = at >= ROM.from && at < ROM.to;
      const asked = changes.findLast(([s]) => at >= s.from && at < s.to)?.[1] ?? (inRom ? "rom" : "ram");
      const found = areas.filter((a) => at >= a.from && at < a.to);
      const want = asked === "rom" ? (inRom ? ["rom", true] : undefined) : ["ram", asked === "read-only"];
      assert.deepEqual(found.map((a) => [a.name, a.readOnly]), want === undefined ? [] : [want]);
    }
  }));
});
