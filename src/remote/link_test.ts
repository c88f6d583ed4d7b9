import assert from "node:assert/strict";
import { FakeStream } from "./fake_stub.ts";
import { Links, type Waiter } from "./link.ts";

/** Waits of a thousand that asked again before they slept; an answer comes by the `comes`th question, or by sleep. */
function asked(comes: number): { again: number; slept: number } {
  const stream = new FakeStream(() => {});
  let questions = 0;
  let again = 0;
  let slept = 0;
  const waiter: Waiter = {
    wait(streams, timeoutMs) {
      if (timeoutMs > 0) slept++;
      else if (++questions < comes) return [];
      stream.give("x");
      return streams;
    },
  };
  using links = new Links(waiter);
  let taken = 0;
  links.add(stream, () => taken++);
  for (let i = 0; i < 1000; i++) {
    questions = 0;
    assert.ok(links.until(() => taken > i, 1000));
    if (questions > 0) again++;
  }
  return { again, slept };
}

Deno.test({
  name: "who waits for an answer asks again for a moment, where that pays",
  ignore: navigator.hardwareConcurrency === 1,
  fn() {
    const pays = asked(3);
    assert.ok(pays.again > 500, `${pays.again} asked again`);
    // Nothing comes until it sleeps: the processor that it asks on is the one that the other side wants.
    const vain = asked(Infinity);
    assert.equal(vain.slept, 1000);
    assert.ok(vain.again < 50, `${vain.again} asked in vain`);
  },
});
