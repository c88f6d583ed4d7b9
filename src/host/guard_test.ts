import "./preload.ts";
import assert from "node:assert/strict";
import { guardBuffers, guardCounts, GuardError } from "./guard.ts";
import { openLibrary, sized } from "./library.ts";

const MEMSET = { memset: { parameters: ["buffer", "i32", "usize"], result: "pointer" } } as const;

Deno.test("guard: what a call writes comes back, what it writes beyond is an error", () => {
  // SAFETY: the guard gives memset 4096 bytes of room behind the buffer, so that the overrun stays in our memory.
  const libc = Deno.dlopen("libc.so.6", MEMSET);
  const { memset } = guardBuffers(libc.symbols, MEMSET);
  const buffer = new Uint8Array(16);
  const before = { ...guardCounts };
  memset(buffer.subarray(4, 12), 7, 8n);
  assert.deepEqual([...buffer], [0, 0, 0, 0, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0, 0, 0]);
  assert.deepEqual(guardCounts, { calls: before.calls + 1, buffers: before.buffers + 1 });
  assert.throws(
    () => memset(buffer, 7, 17n),
    (error: unknown) =>
      error instanceof GuardError && /memset wrote 1 bytes behind the 16 bytes/.test(error.message),
  );
  libc.close();
});

Deno.test("library: one that is missing is named, with what is here in its place", () => {
  assert.throws(() => openLibrary("libnowhere", ["libnowhere.so.1", "libnowhere.so.2"], MEMSET), {
    name: "HostError",
    message: "dlopen libnowhere.so.1, libnowhere.so.2 failed",
    remedy: /There is no libnowhere here/,
  });
  // No version 0 of it was ever made; another one is on every Debian.
  assert.throws(() => openLibrary("libm", ["libm.so.0"], MEMSET), {
    remedy: /Here is libm\.so\.6; hvsh knows/,
  });
});

Deno.test("library: a buffer that is too short is refused before the call", () => {
  assert.equal(sized("f", new Uint8Array(8), 8).length, 8);
  assert.throws(() => sized("f", new Uint8Array(7), 8), {
    name: "RangeError",
    message: /f takes a buffer of 8 bytes/,
  });
});
