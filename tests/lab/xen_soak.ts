/**
 * The contract on Xen beside busy processors, again and again, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_soak.ts [RUNS]`; 200 if left out.
 *
 * Each run takes the next four cases of the contract on PVH guests, and each fourth run the next one on a PV guest, so that
 * all of it has its turns. Processes of 20 runs (`contract_runs.ts`) do them with guard bytes around all buffers, beside a
 * loop for each processor of dom0 (at `nice`, or each run would take a minute). Nothing may fail, no process may crash,
 * and of each nothing may be left in Xen.
 */
import assert from "node:assert/strict";
import type { RunLine } from "./contract_runs.ts";

const RUNS_OF_A_PROCESS = 20;
const LSEVTCHN = "/usr/lib/xen-4.17/bin/lsevtchn";
const NOTES = ["/run/hvsh-domains", "/run/hvsh-attached"];

/** What came of all runs. */
const sum = { runs: 0, passed: 0, skipped: 0, failed: 0, crashes: 0, guardHits: 0, calls: 0, buffers: 0 };
const troubles: string[] = [];
/** What came of each case, the last time. */
const cases = new Map<string, string>();

const [runs = 200] = Deno.args.map(Number);
const program = new URL("contract_runs.ts", import.meta.url).pathname;
const start = performance.now();
{
  using load = new DisposableStack();
  for (let cpu = 0; cpu < navigator.hardwareConcurrency; cpu++) {
    const loop = new Deno.Command("nice", { args: ["sh", "-c", "while :; do :; done"] }).spawn();
    load.defer(() => loop.kill("SIGKILL"));
  }
  for (let first = 0; first < runs;) {
    const wanted = Math.min(RUNS_OF_A_PROCESS, runs - first);
    const done = await batch(first, wanted);
    // A run in which the process ended is one, too.
    first += Math.max(1, done);
    sum.runs = first;
    console.log(
      `${first} runs, ${((performance.now() - start) / 1000).toFixed(0)} s: ${JSON.stringify(sum)}`,
    );
  }
}
for (const [outcome, names] of Map.groupBy(cases.keys(), (name) => cases.get(name))) {
  console.log(`${names.length} cases ${outcome}`);
}
for (const trouble of troubles) console.log(`FAILED ${trouble}`);
if (troubles.length > 0) Deno.exit(1);
console.log(`ok ${sum.runs} runs beside ${navigator.hardwareConcurrency} loops`);

/** Runs some in a process of their own; gives how many it finished. */
async function batch(first: number, count: number): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--no-check", program, `${first}`, `${count}`],
    env: { HVSH_GUARD: "1" },
  });
  const { code, signal, stdout, stderr } = await child.output();
  const lines = text(stdout).split("\n").filter((line) => line !== "").map((line) =>
    JSON.parse(line) as RunLine
  );
  let done = 0;
  for (const line of lines) {
    if ("outcome" in line) {
      sum[line.outcome]++;
      cases.set(line.case, line.outcome === "skipped" ? `skipped: ${line.reason}` : line.outcome);
      if (line.outcome !== "failed") continue;
      if (line.guard) sum.guardHits++;
      troubles.push(`run ${first + done}, ${line.case}: ${line.reason}`);
    } else if ("run" in line) done++;
    else {
      sum.calls += line.calls;
      sum.buffers += line.buffers;
      if (line.left.length > 0) {
        troubles.push(`runs from ${first} on left in their process ${line.left.join(", ")}`);
      }
    }
  }
  if (signal !== null || code !== 0) {
    sum.crashes++;
    troubles.push(
      `runs from ${first} on ended in run ${first + done} by ${signal ?? `code ${code}`}: ${text(stderr)}`,
    );
  }
  const left = leftInXen();
  if (left.length > 0) troubles.push(`runs from ${first} on left in Xen ${left.join(", ")}`);
  return done;
}

/** What is there of domains that are no more, and which domains of hvsh's there are. */
function leftInXen(): string[] {
  const rows = run("xl", "list").slice(1).map((line) => line.split(/\s+/));
  const here = new Set(rows.map(([, id]) => id));
  const gone = (id: string | undefined) => id !== undefined && !here.has(id);
  return [
    ...rows.map(([name]) => name).filter((name) => /^(hvsh-|\(null\))/.test(name)),
    ...run(LSEVTCHN, "0").filter((line) => gone(/Domain (\d+)/.exec(line)?.[1])),
    ...run("xenstore-ls", "-f").map((line) => line.split(" = ")[0])
      .filter((path) => gone(/^\/(?:local\/domain|libxl)\/(\d+)/.exec(path)?.[1])),
    ...NOTES.flatMap((folder) => [...Deno.readDirSync(folder)].map(({ name }) => `${folder}/${name}`)),
  ];
}

function run(command: string, ...args: string[]): string[] {
  const { success, stdout, stderr } = new Deno.Command(command, { args }).outputSync();
  assert.ok(success, text(stderr));
  return text(stdout).trim().split("\n");
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}
