import assert from "node:assert/strict";
import { Ps2Mouse } from "../devices/ps2_mouse.ts";
import { type MouseButton, mouseOf } from "./mouse.ts";

const ENABLE = 0xf4;

/** A mouse that a guest listens to, and what it would read next. */
function listenedTo() {
  const device = new Ps2Mouse();
  device.write(ENABLE);
  while (device.take("reply") !== undefined);
  const read = () => {
    const bytes: number[] = [];
    for (let byte; (byte = device.take("event")) !== undefined;) bytes.push(byte);
    return bytes;
  };
  return { mouse: mouseOf(device), read };
}

Deno.test("mouse: it moves as one sees it, and holds the buttons that are named", () => {
  const { mouse, read } = listenedTo();
  assert.equal(mouse.reporting, true);
  mouse.move(5, 3);
  // QEMU's guest reads the same after `mouse_move 5 3`: down is negative on the wire.
  assert.deepEqual(read(), [0x28, 5, 0xfd]);
  mouse.hold("left", "middle");
  assert.deepEqual(read(), [0x0d, 0, 0]);
  mouse.hold("right");
  assert.deepEqual(read(), [0x0a, 0, 0]);
  mouse.hold();
  assert.deepEqual(read(), [0x08, 0, 0]);
});

Deno.test("mouse: what is no movement and no button is refused, and nothing moves", () => {
  const { mouse, read } = listenedTo();
  for (const counts of [NaN, Infinity, 0.5, 70_000]) {
    assert.throws(() => mouse.move(1, counts), /a mouse can't move by/);
  }
  assert.throws(() => mouse.hold("left", "toString" as MouseButton), /no button "toString"/);
  assert.deepEqual(read(), []);
});
