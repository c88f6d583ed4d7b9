import "./preload.ts";
import assert from "node:assert/strict";
import { EdgeSet } from "./edge_set.ts";
import { EventFd } from "./eventfd.ts";
import { PollSet } from "./poll_set.ts";

Deno.test("what comes is told once, though nobody reads it, and again when more comes", () => {
  using first = new EventFd();
  using second = new EventFd();
  using set = new EdgeSet();
  set.add(first.fd);
  set.add(second.fd);
  const poll = new PollSet();
  poll.add(set.fd);
  assert.deepEqual(poll.wait(0), []);
  first.signal();
  assert.deepEqual(poll.wait(60_000), [set.fd]);
  assert.deepEqual(set.take(), [first.fd]);
  assert.deepEqual(poll.wait(0), []);
  first.signal();
  second.signal();
  assert.deepEqual(set.take().sort((a, b) => a - b), [first.fd, second.fd].sort((a, b) => a - b));
  set.delete(second.fd);
  second.signal();
  assert.deepEqual(set.take(), []);
  assert.throws(() => set.delete(second.fd), /EPOLL_CTL_DEL/);
});
