import assert from "node:assert/strict";
import { closeAtEnd } from "./leaving.ts";

Deno.test("leaving: what is closed late, by another's close, is closed too; what was taken back is not", () => {
  const seen: string[] = [];
  closeAtEnd(() => {
    seen.push("machine");
    closeAtEnd(() => seen.push("its domain"));
  });
  closeAtEnd(() => seen.push("closed before"))();
  globalThis.dispatchEvent(new Event("unload"));
  assert.deepEqual(seen, ["machine", "its domain"]);
});
