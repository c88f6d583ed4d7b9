import "../host/preload.ts";
import assert from "node:assert/strict";
import { GuestContext } from "./guest_context.ts";
import type { Marks } from "./marks.ts";
import { Others } from "./others.ts";

/** Four vCPUs: the third was never brought up, the fourth is down by the guest's own doing. */
function domain() {
  const contexts = [true, true, undefined, false].map((online) => {
    if (online === undefined) return undefined;
    const context = new GuestContext();
    context.setOnline(online);
    return context;
  });
  const told: (readonly number[])[] = [];
  return {
    told,
    online: () => contexts.map((context) => context?.online),
    parts: {
      vcpus: 4,
      read: (vcpu: number) => contexts[vcpu],
      change: (vcpu: number, body: (context: GuestContext) => void) => {
        assert.ok(told.at(-1)?.includes(vcpu) || told.length === 0, "it is written down before");
        body(contexts[vcpu]!);
      },
      marks: { down: (vcpus: readonly number[]) => void told.push(vcpus) } as unknown as Marks,
    },
  };
}

Deno.test("others: those that are up are taken down for a step, and brought up behind it", () => {
  const { parts, online, told } = domain();
  const others = new Others(parts);
  others.hold(1);
  assert.deepEqual(online(), [false, true, undefined, false]);
  assert.deepEqual([others.holds(0), others.holds(1)], [true, false]);
  others.hold(0);
  assert.deepEqual(online(), [true, false, undefined, false]);
  others.letGo();
  others.letGo();
  assert.deepEqual(online(), [true, true, undefined, false]);
  assert.deepEqual(told, [[0], [], [1], []]);
});

Deno.test("others: what a killed debugger left down is brought up", () => {
  const { parts, online } = domain();
  new Others({ ...parts, marks: undefined }, [3]).letGo();
  assert.deepEqual(online(), [true, true, undefined, true]);
});
