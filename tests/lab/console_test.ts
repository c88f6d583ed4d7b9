import assert from "node:assert/strict";
import { parseConsole } from "./console.ts";

Deno.test("the console tells how far a start has come", () => {
  assert.equal(parseConsole("").stage, "qemu");
  assert.equal(parseConsole("\x1bc\x1b[?7l\x1b[2J").stage, "qemu");
  assert.equal(parseConsole("[    0.000000] Linux version 6.1\r\n").stage, "kernel");
  const text =
    "hvsh-lab: stage modules\r\nhvsh-lab: stage root\r\nhvsh-lab: failed: mounting the share host\r\n";
  const state = parseConsole(text);
  assert.equal(state.stage, "root");
  assert.equal(state.failed, "mounting the share host");
  assert.equal(state.panic, undefined);
});

Deno.test("a panic of Linux, of Xen, or of dom0 under Xen is recognised", () => {
  const panics = [
    "[   12.0] Kernel panic - not syncing: sysrq triggered crash",
    "(XEN) Panic on CPU 0:",
    "(XEN) Hardware Dom0 crashed: rebooting machine in 5 seconds.",
    "(XEN) FATAL TRAP: vector = 14 (page fault)",
  ];
  for (const line of panics) {
    assert.ok(line.includes(parseConsole(`a\r\n${line}\r\nb`).panic ?? "none"), line);
  }
});

Deno.test("the last 40 lines are kept, without terminal sequences and blank lines", () => {
  const lines = Array.from({ length: 60 }, (_, n) => `\x1b[1;31mline ${n}\x1b[0m\r\n\r\n`);
  const { tail } = parseConsole(lines.join(""));
  assert.equal(tail.length, 40);
  assert.equal(tail[0], "line 20");
  assert.equal(tail[39], "line 59");
});
