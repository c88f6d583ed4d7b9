import assert from "node:assert/strict";
import { kernelPayload } from "./images.ts";

Deno.test("the packed kernel is found in a bzImage by its header, and not in what is none", () => {
  const image = new Uint8Array(8192).map((_, n) => n & 0xff);
  const header = new DataView(image.buffer);
  header.setUint32(0x202, 0x53726448, true);
  header.setUint8(0x1f1, 3); // boot sector and three setup sectors: the code is at 2048
  header.setUint32(0x248, 100, true);
  header.setUint32(0x24c, 50, true);
  assert.deepEqual(kernelPayload(image), image.slice(2148, 2198));
  header.setUint32(0x202, 0, true);
  assert.equal(kernelPayload(image).length, 0);
  assert.equal(kernelPayload(new Uint8Array(10)).length, 0);
});
