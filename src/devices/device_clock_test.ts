import assert from "node:assert/strict";
import { DeviceClock } from "./device_clock.ts";

function handmade() {
  const host = { now: 1000n };
  return { host, clock: new DeviceClock(() => host.now) };
}

Deno.test("device clock: callbacks run in order of time, ties in order of scheduling", () => {
  const { host, clock } = handmade();
  const ran: string[] = [];
  clock.schedule(20n, () => ran.push("c"));
  clock.schedule(10n, () => ran.push("a"));
  clock.schedule(10n, () => ran.push("b"));
  clock.schedule(30n, () => ran.push("d"));
  assert.equal(clock.next, 10n);
  host.now += 20n;
  assert.equal(clock.next, 0n);
  assert.equal(clock.poll(), 3);
  assert.deepEqual(ran, ["a", "b", "c"]);
  assert.equal(clock.next, 10n);
});

Deno.test("device clock: a cancelled callback does not run, not even when cancelled by one just before", () => {
  const { host, clock } = handmade();
  const ran: string[] = [];
  const cancels: (() => void)[] = [];
  clock.schedule(1n, () => cancels.forEach((c) => c()));
  cancels.push(clock.schedule(1n, () => ran.push("no")));
  cancels.push(clock.schedule(5n, () => ran.push("no")));
  host.now += 10n;
  assert.equal(clock.poll(), 1);
  cancels[0]();
  assert.deepEqual(ran, []);
  assert.equal(clock.next, undefined);
});

Deno.test("device clock: a callback that schedules itself with no delay does not hold poll up", () => {
  const { clock } = handmade();
  let runs = 0;
  const again = () => {
    runs++;
    clock.schedule(0n, again);
  };
  clock.schedule(-5n, again);
  assert.equal(clock.poll(), 1);
  assert.equal(clock.poll(), 1);
  assert.equal(runs, 2);
});

Deno.test("device clock: stands still while paused and loses nothing", () => {
  const { host, clock } = handmade();
  let ran = 0;
  clock.schedule(100n, () => ran++);
  host.now += 60n;
  clock.pause();
  clock.pause();
  const at = clock.now();
  host.now += 1_000_000n;
  assert.equal(clock.now(), at);
  assert.equal(clock.paused, true);
  assert.equal(clock.poll(), 0);
  clock.resume();
  clock.resume();
  assert.equal(clock.now(), at);
  assert.equal(clock.next, 40n);
  host.now += 40n;
  assert.equal(clock.poll(), 1);
  assert.equal(ran, 1);
});
