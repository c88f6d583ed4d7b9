import assert from "node:assert/strict";
import { anySequence, refusesForeign } from "./device_contract.ts";
import { MockGuest } from "./mock_guest.ts";
import { Post } from "./post.ts";

function subject() {
  const device = new Post();
  return { device, guest: new MockGuest([device]) };
}

Deno.test("post: keeps the last code and a bounded past without repetitions", () => {
  const { guest, device } = subject();
  for (const code of [0, 0, 1, 1, 2]) guest.out(0x80, code);
  assert.equal(guest.in(0x80), 2);
  assert.deepEqual(device.codes, [0, 1, 2]);
  assert.equal(device.inspect().codes, "00 01 02");
  for (let i = 0; i < 200; i++) guest.out(0x80, i);
  assert.equal(device.codes.length, 64);
  assert.equal(device.codes[63], 199);
});

Deno.test("post: any sequence, saved states", () => {
  anySequence(subject, {
    seed: 80,
    runs: 50,
    holds: ({ device }) => assert.ok((device as Post).codes.length <= 64),
  });
  refusesForeign(subject().device);
});
