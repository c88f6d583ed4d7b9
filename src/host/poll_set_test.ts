import "./preload.ts";
import assert from "node:assert/strict";
import { EventFd, signalEventFd } from "./eventfd.ts";
import { PollSet } from "./poll_set.ts";

Deno.test("of several descriptors those that can be read are told, and a wait ends when there is one", async () => {
  using first = new EventFd();
  using second = new EventFd();
  const set = new PollSet();
  assert.deepEqual(set.wait(0), []);
  set.add(first.fd);
  set.add(second.fd);
  assert.deepEqual(set.wait(0.2), []);
  await set.later(1);
  second.signal();
  assert.deepEqual(set.wait(60_000), [second.fd]);
  await set.later(60_000);
  signalEventFd(first.fd);
  assert.deepEqual(set.wait(60_000), [first.fd, second.fd]);
  assert.deepEqual([first.take(), second.take(), second.take()], [1n, 1n, 0n]);
  second.signal();
  set.delete(second.fd);
  assert.deepEqual(set.wait(0), []);
});
