import "../host/preload.ts";
import assert from "node:assert/strict";
import { openConsole } from "./console.ts";

Deno.test("xen console: a terminal that has gone is told of, and is no reason not to look at the domain", () => {
  const told: string[] = [];
  assert.equal(openConsole("/nowhere/pts", (sentence) => void told.push(sentence)), undefined);
  assert.deepEqual(told, [
    "Its console can't be read or typed to: open /nowhere/pts failed: ENOENT (no such file or directory)",
  ]);
});
