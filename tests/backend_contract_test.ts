/** The contract on every backend that is to be had here; at the end a table, and build/contract.json. */

import { columnOf, CONTRACT, type ContractResult, isForeign, judge, skipReason } from "./backend_contract.ts";
import { contractBackends } from "./contract_backends.ts";
import { contractTable, writeContractJson } from "./contract_table.ts";

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

Deno.test.afterAll(async () => {
  console.log(contractTable(results));
  await writeContractJson(results);
});
