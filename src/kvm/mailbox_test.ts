import assert from "node:assert/strict";
import { CELL, Mailbox } from "./mailbox.ts";

Deno.test("each vCPU has a cell of its own, seen alike from both sides", () => {
  const main = new Mailbox(3);
  const thread = new Mailbox(main.buffer);
  main.tell(1, CELL.RUN);
  assert.deepEqual([0, 1, 2].map((n) => thread.state(n)), [CELL.IDLE, CELL.RUN, CELL.IDLE]);
  const before = main.bell;
  thread.arrive(1, 4711);
  thread.done(1, -1, 4);
  assert.deepEqual([main.state(1), main.result(1), main.errno(1), main.threadOf(1)], [
    CELL.DONE,
    -1,
    4,
    4711,
  ]);
  assert.deepEqual([main.state(0), main.threadOf(2)], [CELL.IDLE, 0]);
  assert.equal(main.bell, before + 2);
});

Deno.test("who has heard the bell already does not wait for it", async () => {
  const box = new Mailbox(1);
  const heard = box.bell;
  box.done(0, 0, 0);
  box.wait(heard, 60_000);
  await box.waitAsync(heard, 60_000);
  assert.equal(box.leaves(0, CELL.RUN, 60_000), true);
  assert.equal(box.leaves(0, CELL.DONE, 1), false);
  await box.waitAsync(box.bell, 1);
});

Deno.test("last words are told, cut where they are long, and change no other cell", () => {
  const box = new Mailbox(2);
  box.die(0, "x".repeat(1000));
  assert.deepEqual([box.state(0), box.state(1), box.threadOf(1)], [CELL.DEAD, CELL.IDLE, 0]);
  assert.equal(box.lastWords(0), "x".repeat(252));
  box.die(1, "why");
  assert.equal(box.lastWords(1), "why");
});

Deno.test("who listens in the kernel is signalled by every ring, and nobody else is", () => {
  const heard: number[] = [];
  const main = new Mailbox(1);
  const thread = new Mailbox(main.buffer, (fd) => void heard.push(fd));
  thread.ring();
  main.listen(7);
  thread.done(0, 0, 0);
  thread.die(0, "why");
  main.listen(undefined);
  thread.ring();
  assert.deepEqual(heard, [7, 7]);
  assert.equal(main.bell, 4);
});
