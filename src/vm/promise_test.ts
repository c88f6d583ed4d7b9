import assert from "node:assert/strict";

/** Prints how many turns each of 20 signals took. Slices are as long as a guest's. */
const PROGRAM = `
import { turn } from ${JSON.stringify(new URL("./promise.ts", import.meta.url).href)};
const slice = () => {
  const end = performance.now() + 5;
  while (performance.now() < end);
};
let heard = 0;
Deno.addSignalListener("SIGUSR2", () => void heard++);
for (let sent = 1; sent <= 20; sent++) {
  // A while in which nothing comes: what follows a signal at once is heard soon anyway.
  for (let i = 0; i < 5; i++, await turn()) slice();
  Deno.kill(Deno.pid, "SIGUSR2");
  let turns = 0;
  for (; heard < sent && turns < 100; turns++, await turn()) slice();
  console.log(turns);
}
Deno.exit(0);
`;

Deno.test("turn: a signal is heard within a few turns, although the event loop is never idle", async () => {
  // A program of its own: what runs tests has an event loop that is idle now and then.
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["eval", "--ext=ts", PROGRAM] })
    .output();
  const turns = new TextDecoder().decode(stdout).trim().split("\n").map(Number);
  assert.equal(turns.length, 20);
  assert.ok(Math.max(...turns) <= 12, `turns taken: ${turns}`);
});
