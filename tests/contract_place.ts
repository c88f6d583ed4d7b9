/**
 * The contract as a program, for places where it runs without `deno test`, such as a lab:
 * `deno run -A --no-check tests/contract_place.ts --backend kvm --columns "real;long" --json`.
 * `--group memory` and `--case "part of its name"` choose cases; both may be given several times.
 * With `--json` each result is a line as it comes, else the table is printed at the end. Exit code 1 if a case failed
 * or nothing could be run.
 */
import { parseArgs } from "node:util";
import { type Case, columnOf, type ContractResult, runContract } from "./backend_contract.ts";
import { contractBackends } from "./contract_backends.ts";
import { contractTable } from "./contract_table.ts";

/** A backend that can't be used here, and why. */
export interface Absent {
  readonly absent: string;
  readonly reason: string;
}

/** A line of the output of `--json`. */
export type PlaceLine = ContractResult | Absent;

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      backend: { type: "string", multiple: true },
      columns: { type: "string" },
      group: { type: "string", multiple: true },
      case: { type: "string", multiple: true },
      json: { type: "boolean", default: false },
    },
  });
  const { backend: names, group: groups, case: parts } = values;
  const wanted = ({ group, name }: Case) =>
    groups?.includes(group) !== false && parts?.some((part) => name.includes(part)) !== false;
  const columns = values.columns?.split(";");
  const { backends, absent } = await contractBackends();
  const say = (line: PlaceLine) => console.log(JSON.stringify(line));
  for (const { name, reason } of absent) {
    if (names?.includes(name) === false) continue;
    if (values.json) say({ absent: name, reason });
    else console.log(`contract: ${name} is skipped: ${reason}`);
  }
  const results: ContractResult[] = [];
  for (const backend of backends) {
    if (names?.includes(backend.name) === false || columns?.includes(columnOf(backend)) === false) continue;
    results.push(...await runContract(backend, (result) => values.json && say(result), wanted));
  }
  if (!values.json && results.length > 0) {
    console.log(contractTable(results));
    for (const { group, name, mode, outcome, reason } of results) {
      if (outcome === "failed") console.log(`FAILED ${group}: ${name} [${mode}]\n  ${reason}`);
    }
  }
  if (results.length === 0 || results.some(({ outcome }) => outcome === "failed")) Deno.exit(1);
}
