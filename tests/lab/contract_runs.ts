/**
 * Some runs of the contract's cases on Xen, as a process of `xen_soak.ts`: `contract_runs.ts FIRST COUNT`. Each line of
 * its output is a `RunLine`.
 */
import {
  type Case,
  columnOf,
  CONTRACT,
  type ContractBackend,
  isForeign,
  judge,
  skipReason,
} from "../backend_contract.ts";
import { contractBackends } from "../contract_backends.ts";
import { cleanDomains } from "../../mod.ts";
import { guardCounts } from "../../src/host/guard.ts";
import { growth, holdings } from "../leaks.ts";

/** What became of a case; that a run is over; and what the process did and holds that it had not after its first run. */
export type RunLine =
  | {
    readonly case: string;
    readonly outcome: "passed" | "skipped" | "failed";
    readonly reason?: string;
    readonly guard: boolean;
  }
  | { readonly run: number }
  | { readonly left: readonly string[]; readonly calls: number; readonly buffers: number };

/** How many cases of each a run has: the toolstack takes seconds for a PV guest, and a PVH guest of its size is used again. */
const CASES = { "xen-pv": 1 / 4, "xen-pvh": 4 };

/** Loaded when it is first needed, which need not be in the first run, and kept. */
const LIBRARY = /\.so(\.\d+)*$/;

/** A case on a backend. */
type Turn = readonly [ContractBackend, Case];

if (import.meta.main) {
  const [first, count] = Deno.args.map(Number);
  const { backends } = await contractBackends();
  const turns = Object.entries(CASES).map(([name, each]) => ({ each, all: turnsOf(backends, name) }));
  let before: ReturnType<typeof holdings> | undefined;
  for (let run = first; run < first + count; run++) {
    for (const { each, all } of turns) {
      for (let i = Math.ceil(run * each); i < (run + 1) * each; i++) await take(all[i % all.length]);
    }
    say({ run });
    if (before !== undefined) continue;
    await cleanDomains();
    before = holdings();
  }
  await cleanDomains();
  const { fds, maps } = growth(before!, holdings());
  say({ left: [...fds, ...maps.filter((name) => !LIBRARY.test(name))], ...guardCounts });
}

/** What the contract asks of a backend, in all its modes. */
function turnsOf(backends: readonly ContractBackend[], name: string): Turn[] {
  const turns = backends.filter((backend) => backend.name === name).flatMap((backend) =>
    CONTRACT.filter((clause) => !isForeign(backend, clause) && skipReason(backend, clause) === undefined)
      .map((clause): Turn => [backend, clause])
  );
  if (turns.length === 0) throw new Error(`${name} can't be had here`);
  return turns;
}

async function take([backend, clause]: Turn): Promise<void> {
  const { outcome, reason, error } = await judge(backend, clause);
  say({
    case: `${clause.group}: ${clause.name} [${backend.name}, ${columnOf(backend)}]`,
    outcome,
    ...(reason !== undefined && { reason }),
    guard: error instanceof Error && error.name === "GuardError",
  });
}

function say(line: RunLine): void {
  console.log(JSON.stringify(line));
}
