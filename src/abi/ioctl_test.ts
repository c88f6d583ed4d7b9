import assert from "node:assert/strict";
import { ioctls } from "./ioctl.ts";
import { errnoMeaning, errnoName } from "./errno.ts";

Deno.test("request numbers are those of <linux/kvm.h>", () => {
  const { IO, IOR, IOW, IOWR } = ioctls(0xae);
  assert.equal(IO(0x80), 0xae80);
  assert.equal(IOR(0x81, { size: 144 }), 0x8090ae81);
  assert.equal(IOW(0x46, { size: 32 }), 0x4020ae46);
  assert.equal(IOWR(0x05, { size: 8 }), 0xc008ae05);
});

Deno.test("an argument that the number has no room for is refused", () => {
  assert.throws(() => ioctls(0xae).IOW(1, { size: 0x4000 }), RangeError);
});

Deno.test("errno has a name and a meaning, and an unknown one its number", () => {
  assert.equal(errnoName(22), "EINVAL");
  assert.equal(errnoMeaning(13), "permission denied");
  assert.equal(errnoName(4095), "errno 4095");
  assert.equal(errnoMeaning(4095), "");
});
