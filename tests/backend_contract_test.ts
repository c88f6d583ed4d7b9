/** The contract on every backend that is to be had here and in the labs; at the end a table, and build/contract.json. */

import assert from "node:assert/strict";
import { columnOf, CONTRACT, type ContractResult, isForeign, judge, skipReason } from "./backend_contract.ts";
import { contractBackends } from "./contract_backends.ts";
import { contractInLab, LAB_CONTRACT } from "./contract_lab.ts";
import { contractTable, writeContractJson } from "./contract_table.ts";
import { sharedLab } from "./lab/shared.ts";

const results: ContractResult[] = [];
const { backends, absent } = await contractBackends();
for (const { name, reason } of absent) console.log(`contract: ${name} is skipped: ${reason}`);

for (const backend of backends) {
  for (const clause of CONTRACT) {
    if (isForeign(backend, clause)) continue;
    const name = `${clause.group}: ${clause.name} [${backend.name}, ${columnOf(backend)}]`;
    const reason = skipReason(backend, clause);
    if (reason !== undefined) {
      console.log(`${name} is skipped: ${reason}`);
      results.push(await judge(backend, clause));
    }
    Deno.test({
      name,
      ignore: reason !== undefined,
      async fn() {
        const { error, ...result } = await judge(backend, clause);
        results.push(result);
        if (result.outcome === "failed") throw error;
      },
    });
  }
}

for (const column of LAB_CONTRACT) {
  const { lab: kind, backend } = column;
  const lab = sharedLab(kind);
  Deno.test({
    name: `the contract on ${backend} in the ${kind} lab`,
    ignore: lab.ignore,
    async fn(t) {
      const found = await contractInLab(await lab.get(), column);
      results.push(...found.results);
      for (const { group, name, mode, outcome, reason } of found.results) {
        await t.step({
          name: `${group}: ${name} [${backend} in the ${kind} lab, ${mode}]`,
          ignore: outcome === "skipped",
          fn: () => {
            if (outcome === "failed") throw new Error(reason);
          },
        });
      }
      assert.deepEqual([found.absent, found.problem], [[], undefined]);
    },
  });
}

Deno.test.afterAll(async () => {
  console.log(contractTable(results));
  await writeContractJson(results);
});
