/** The window as RAM: nothing of what is shown may depend on it. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { runs } from "../device_contract.ts";
import { MockScreen, MODE_12H, MODE_13H, MODE_4, MODE_X } from "./mock_screen.ts";

Deno.test("vga: text and mode 13h become RAM after some accesses, and come back when registers change", () => {
  const screen = new MockScreen({ configured: true });
  screen.guest.lends = true;
  for (let i = 0; i < 80 * 25; i++) screen.poke(0xb8000 + 2 * i, 0x0741, 2);
  assert.equal(screen.guest.loans, 1);
  assert.equal(screen.vga.rows().at(24), "A".repeat(80));
  screen.poke(0xb8000, 0x42);
  assert.deepEqual([screen.vga.rows()[0].slice(0, 2), screen.peek(0xb8002)], ["BA", 0x41]);
  screen.set(0x3d4, 0x0f, 5);
  assert.equal(screen.guest.loans, 1, "the cursor has nothing to do with it");
  screen.mode(MODE_13H);
  assert.equal(screen.guest.loans, 0);
  for (let i = 0; i < 64000; i++) screen.poke(0xa0000 + i, i % 251);
  assert.equal(screen.guest.loans, 1);
  assert.deepEqual(screen.dot(5, 100), screen.dot((320 * 100 + 5) % 251, 0));
  screen.guest.reclaim();
  assert.deepEqual([screen.guest.loans, screen.peek(0xa0000 + 250)], [0, 250]);
  screen.mode(MODE_12H);
  for (let i = 0; i < 1000; i++) screen.poke(0xa0000 + i, 1);
  assert.equal(screen.guest.loans, 0, "planes are never RAM");
});

Deno.test("vga: a font that is loaded goes to RAM, and then to its plane", () => {
  const screen = new MockScreen({ configured: true });
  screen.guest.lends = true;
  screen.fontAccess(2);
  for (let i = 0; i < 16 * 256; i++) screen.poke(0xa0000 + 32 * (i >> 4) + i % 16, i % 255);
  assert.equal(screen.guest.loans, 1);
  assert.equal(screen.peek(0xa0000 + 32), 16);
  screen.fontAccess(3);
  assert.equal(screen.guest.loans, 0);
  assert.equal(screen.peek(0xa0000 + 32), 0, "plane 3 has nothing of it");
  screen.fontAccess(2);
  assert.equal(screen.peek(0xa0000 + 32 * 255 + 15), (16 * 256 - 1) % 255);
});

Deno.test("vga: with RAM behind the window the guest sees and shows the same as without", () => {
  const modes = [MODE_13H, MODE_X, MODE_12H, MODE_4];
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant("fill" as const), at: fc.nat(0x1ffff), value: fc.nat(255) }),
    },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("read" as const), at: fc.nat(0x1ffff) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("mode" as const), mode: fc.nat(modes.length - 1) }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("map" as const), value: fc.nat(15) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("font" as const), plane: fc.nat(3) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("window" as const), value: fc.nat(3) }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom("text" as const, "reclaim" as const, "carry" as const) }),
    },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const [direct, plain] = [true, false].map((lends) => {
        const screen = new MockScreen({ configured: true, memory: 1 << 18 });
        screen.guest.lends = lends;
        return screen;
      });
      for (const s of steps) {
        const [a, b] = [direct, plain].map((screen) => {
          if (s.kind === "mode") screen.mode(modes[s.mode]);
          else if (s.kind === "map") screen.set(0x3c4, 2, s.value);
          else if (s.kind === "font") screen.fontAccess(s.plane);
          else if (s.kind === "window") screen.set(0x3ce, 6, s.value << 2 | 1);
          else if (s.kind === "text") screen.vga.reset();
          else if (s.kind === "reclaim") screen.guest.reclaim();
          else if (s.kind === "carry") screen.vga.restore(screen.vga.save());
          else if (s.kind === "read") return screen.peek(0xa0000 + s.at);
          else if (s.kind === "fill") {
            for (let i = 0; i < 200; i++) screen.poke(0xa0000 + (s.at + 7 * i) % 0x20000, s.value ^ i & 0xff);
          }
          return 0;
        });
        assert.equal(a, b);
      }
      const memory = ({ vga }: MockScreen) => (vga.save() as { memory: string[] }).memory;
      assert.ok(memory(direct).join() === memory(plain).join(), "the planes differ");
      assert.deepEqual(direct.vga.rows(), plain.vga.rows());
    }),
    { seed: 0xa0000, numRuns: runs(60) },
  );
});
