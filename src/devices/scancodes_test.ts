import assert from "node:assert/strict";
import { KEY_NAMES, keyName, keysFor, scanCode, translateToSet1 } from "./scancodes.ts";

Deno.test("scan codes: every key has its own make code in both sets", () => {
  for (const set of [1, 2] as const) {
    const codes = KEY_NAMES.map((name) => scanCode(name, true, set).join(" "));
    assert.equal(new Set(codes).size, KEY_NAMES.length);
  }
});

Deno.test("scan codes: the well-known ones of set 1", () => {
  const known: [string, number[]][] = [
    ["esc", [0x01]],
    ["1", [0x02]],
    ["a", [0x1e]],
    ["enter", [0x1c]],
    ["space", [0x39]],
    ["f1", [0x3b]],
    ["f7", [0x41]],
    ["f12", [0x58]],
    ["up", [0xe0, 0x48]],
    ["kp_8", [0x48]],
    ["kp_enter", [0xe0, 0x1c]],
    ["less", [0x56]],
    ["shift_r", [0x36]],
  ];
  for (const [name, make] of known) {
    assert.deepEqual(scanCode(name, true, 1), make, name);
    assert.deepEqual(scanCode(name, false, 1), make.map((b) => (b === 0xe0 ? b : b | 0x80)), name);
  }
});

Deno.test("scan codes: translation leaves replies alone and is one-to-one below 0x80", () => {
  for (const reply of [0xfa, 0xaa, 0xab, 0xfe, 0xee, 0xe0, 0xe1]) assert.equal(translateToSet1(reply), reply);
  assert.equal(new Set(Array.from({ length: 0x80 }, (_, i) => translateToSet1(i))).size, 0x80);
});

Deno.test("scan codes: every printable ASCII character can be typed, and differently", () => {
  const chords = new Set<string>();
  for (let c = 0x20; c < 0x7f; c++) {
    const keys = keysFor(String.fromCharCode(c));
    keys.forEach(keyName);
    chords.add(keys.join("-"));
  }
  assert.equal(chords.size, 0x7f - 0x20);
  assert.deepEqual(keysFor("\x03"), ["ctrl", "c"]);
  assert.deepEqual(keysFor("?"), ["shift", "slash"]);
  assert.throws(() => keysFor("\u20ac"), { name: "InputError" });
  assert.throws(() => keyName("toString"), { name: "InputError" });
});
