import assert from "node:assert/strict";
import { Ps2Keyboard } from "../devices/ps2_keyboard.ts";
import { keyboardOf } from "./keyboard.ts";

/** What the guest would read now, in scan code set 2. */
function read(keyboard: Ps2Keyboard): number[] {
  const bytes: number[] = [];
  for (let byte; (byte = keyboard.take("event")) !== undefined;) bytes.push(byte);
  return bytes;
}

Deno.test("keyboard: keys that are held are down before they are let go, in the other order", async () => {
  const keyboard = new Ps2Keyboard();
  const pressed = keyboardOf(keyboard).press("ctrl-a", { holdMs: 20 });
  assert.deepEqual(read(keyboard), [0x14, 0x1c]);
  await pressed;
  assert.deepEqual(read(keyboard), [0xf0, 0x1c, 0xf0, 0x14]);
  await keyboardOf(keyboard).press("ctrl-a");
  assert.deepEqual(read(keyboard), [0x14, 0x1c, 0xf0, 0x1c, 0xf0, 0x14]);
});

Deno.test("keyboard: what can't be held is refused before a key goes down", async () => {
  const keyboard = new Ps2Keyboard();
  for (const holdMs of [-1, NaN, Infinity]) {
    await assert.rejects(keyboardOf(keyboard).press("a", { holdMs }), {
      name: "InputError",
      message: /held/,
    });
  }
  await assert.rejects(keyboardOf(keyboard).press("ctrl-nokey", { holdMs: 1 }), { name: "InputError" });
  assert.deepEqual(read(keyboard), []);
});
