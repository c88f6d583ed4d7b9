import "../host/preload.ts";
import assert from "node:assert/strict";
import { causeTable, KvmCauses } from "./causes.ts";

const place = (n: number) => ({
  status: 0xd000_0060n + BigInt(n) * 0x1000n,
  acknowledge: 0xd000_0064n + BigInt(n) * 0x1000n,
  gsi: 16 + n,
});

Deno.test("causes: the line is high while a bit is set", () => {
  const said: string[] = [];
  using causes = KvmCauses.take(causeTable(), place(0), (gsi, high) => void said.push(`${gsi} ${high}`));
  assert.ok(causes !== undefined);
  causes.raise(0);
  assert.deepEqual(said.splice(0), []);
  causes.raise(1);
  causes.raise(2);
  assert.deepEqual([causes.bits, said.splice(0)], [3, ["16 true"]]);
  causes.acknowledge(1);
  assert.deepEqual([causes.bits, said.splice(0)], [2, []]);
  causes.acknowledge(3);
  assert.deepEqual([causes.bits, said.splice(0)], [0, ["16 false"]]);
});

Deno.test("causes: a bit that another thread sets as the line goes low raises it again", () => {
  const said: boolean[] = [];
  let meanwhile = () => {};
  using causes = KvmCauses.take(causeTable(), place(0), (_, high) => {
    said.push(high);
    const now = meanwhile;
    meanwhile = () => {};
    now();
  });
  assert.ok(causes !== undefined);
  causes.raise(1);
  said.length = 0;
  // The other raises the line before this one lowers it: what counts is how it ends.
  meanwhile = () => causes.raise(2);
  causes.acknowledge(1);
  assert.deepEqual([causes.bits, said.at(-1)], [2, true]);
});

Deno.test("causes: a line that is raised for a bit which another thread has cleared meanwhile goes low again", () => {
  const said: boolean[] = [];
  const meanwhile: (() => void)[] = [];
  using causes = KvmCauses.take(causeTable(), place(0), (_, high) => {
    meanwhile.shift()?.();
    said.push(high);
  });
  assert.ok(causes !== undefined);
  causes.raise(1);
  // One lowers the line, a device raises it, the one raises it for that too: and another vCPU was quicker.
  meanwhile.push(() => causes.raise(2), () => {}, () => causes.acknowledge(2));
  causes.acknowledge(1);
  assert.deepEqual([causes.bits, said.at(-1)], [0, false]);
});

Deno.test("causes: there are as many as the table holds, each with bits of its own, below 4 GiB", () => {
  const table = causeTable();
  const take = (n: number) => KvmCauses.take(table, place(n), () => {});
  const all = Array.from({ length: 32 }, (_, n) => take(n)!);
  assert.equal(take(32), undefined);
  all[3].raise(1);
  assert.deepEqual(all.map(({ bits }) => bits).filter((bits) => bits !== 0), [1]);
  all[3][Symbol.dispose]();
  using again = take(40);
  assert.deepEqual([again?.bits, again?.answered], [0, false]);
  assert.equal(KvmCauses.take(causeTable(), { ...place(0), status: 1n << 32n }, () => {}), undefined);
});
