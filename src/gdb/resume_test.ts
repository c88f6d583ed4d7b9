import assert from "node:assert/strict";
import { motionOf } from "./resume.ts";
import { PacketError } from "./text.ts";
import { threadChoice, threadId } from "./threads.ts";

Deno.test("for each vCPU the first action that names it counts", () => {
  assert.deepEqual(motionOf("vCont;c", 2, 0), { kind: "continue" });
  assert.deepEqual(motionOf("vCont;C05", 2, 0), { kind: "continue" });
  assert.deepEqual(motionOf("vCont;c:p1.-1", 2, 0), { kind: "continue" });
  assert.deepEqual(motionOf("vCont;s:p1.2;c", 2, 0), { kind: "step", vcpu: 1, others: "run" });
  assert.deepEqual(motionOf("vCont;c:1;s", 2, 0), { kind: "step", vcpu: 1, others: "run" });
  assert.deepEqual(motionOf("vCont;s", 2, 1), { kind: "step", vcpu: 1, others: "hold" });
  assert.deepEqual(motionOf("vCont;S0b:p1.1", 2, 1), { kind: "step", vcpu: 0, others: "hold" });
  // Of three, one is named by nothing: it can't run, and so none does.
  assert.deepEqual(motionOf("vCont;s:p1.1;c:p1.2", 3, 0), { kind: "step", vcpu: 0, others: "hold" });
  assert.deepEqual(motionOf("vCont;s;c", 1, 0), { kind: "step", vcpu: 0, others: "hold" });
  assert.deepEqual(motionOf("vCont;c:p1.2", 2, 0), { kind: "some", vcpus: [1] });
  assert.deepEqual(motionOf("vCont;c:p1.3;c:p1.1", 3, 0), { kind: "some", vcpus: [0, 2] });
  assert.deepEqual(motionOf("vCont;c:p1.1", 1, 0), { kind: "continue" });
  assert.deepEqual(motionOf("vCont;r1000,100a:p1.1;c", 2, 0), {
    kind: "range",
    vcpu: 0,
    start: 0x1000n,
    end: 0x100an,
    others: "run",
  });
});

Deno.test("actions that make no sense, or that no machine can do, are refused", () => {
  for (
    const text of [
      "vCont;",
      "vCont",
      "vCont;x",
      "vCont;c:p2.1",
      "vCont;c:9",
      "vCont;r1",
      "vCont;r1,2,3",
      "vCont;t",
    ]
      .concat(["vCont;c:1:2", "vCont;s1", "vCont;C", "vCont;rg,1"])
  ) assert.throws(() => motionOf(text, 3, 0), PacketError, text);
});

Deno.test("threads are vCPUs of process 1", () => {
  assert.equal(threadId(0, true), "p1.1");
  assert.equal(threadId(15, false), "10");
  assert.equal(threadChoice("p1.10", 16), 15);
  assert.equal(threadChoice("0", 1), "any");
  assert.equal(threadChoice("p0.0", 1), "any");
  assert.equal(threadChoice("-1", 1), "all");
  assert.equal(threadChoice("p1", 1), "all");
  for (const text of ["", "p", "p1.", "p2.1", "2", "x", "-2", "p1.99999999999999999"]) {
    if (text === "p1.") assert.equal(threadChoice(text, 1), "all");
    else assert.throws(() => threadChoice(text, 1), PacketError, text);
  }
});
