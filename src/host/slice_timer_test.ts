import "./preload.ts";
import assert from "node:assert/strict";
import { LINUX } from "../abi/linux.ts";
import {
  blockedSignals,
  changeSignalMask,
  inSet,
  kernelSet,
  signalSet,
  signalThread,
  threadId,
} from "./signals.ts";
import { SLICE_SIGNAL, SliceTimer } from "./slice_timer.ts";

Deno.test("a set holds its signals and no others", () => {
  const set = signalSet(1, 44, 64);
  const held = Array.from({ length: 64 }, (_, i) => i + 1).filter((signal) => inSet(set, signal));
  assert.deepEqual(held, [1, 44, 64]);
  assert.equal(kernelSet(set).length, 8);
  assert.throws(() => signalSet(0), RangeError);
  assert.throws(() => signalSet(65), RangeError);
});

Deno.test("the signal is blocked while any timer lives, and the mask put back after the last", () => {
  const before = blockedSignals();
  assert.ok(!inSet(before, SLICE_SIGNAL));
  const first = new SliceTimer();
  const second = new SliceTimer();
  assert.ok(inSet(blockedSignals(), SLICE_SIGNAL));
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assert.ok(inSet(blockedSignals(), SLICE_SIGNAL));
  second[Symbol.dispose]();
  assert.deepEqual(blockedSignals(), before);
});

Deno.test("inside KVM_RUN the signal is let through, and what else was blocked is not", () => {
  changeSignalMask(LINUX.SIG_BLOCK, signalSet(12));
  try {
    using timer = new SliceTimer();
    const mask = new Uint8Array(128);
    mask.set(timer.runMask);
    assert.ok(!inSet(mask, SLICE_SIGNAL));
    assert.ok(inSet(mask, 12));
  } finally {
    changeSignalMask(LINUX.SIG_UNBLOCK, signalSet(12));
  }
});

Deno.test("the timer fires once after it was armed, stays pending, and is drained", async () => {
  using timer = new SliceTimer();
  assert.equal(timer.drain(), false);
  timer.arm(1);
  timer.arm(1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(timer.drain(), true);
  assert.equal(timer.drain(), false);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(timer.drain(), false);
  timer.arm(1);
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(timer.drain(), true);
});

Deno.test("disposing with the signal pending does not end the process", () => {
  const timer = new SliceTimer();
  signalThread(threadId(), SLICE_SIGNAL);
  timer[Symbol.dispose]();
  assert.ok(!inSet(blockedSignals(), SLICE_SIGNAL));
});

Deno.test("a kick is drained like a slice's end", () => {
  using timer = new SliceTimer();
  signalThread(threadId(), SLICE_SIGNAL);
  assert.equal(timer.drain(), true);
});
