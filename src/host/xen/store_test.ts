import assert from "node:assert/strict";
import { openFlags } from "./store.ts";

Deno.test("xenstore: where xenstored had a socket, nothing but that is asked", () => {
  const socket = Deno.makeTempFileSync();
  assert.equal(openFlags(socket), 2n);
  Deno.removeSync(socket);
  assert.equal(openFlags(socket), 0n);
});
