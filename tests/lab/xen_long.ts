/**
 * What takes too long on Xen for `deno task test`, one program after the other, for dom0 of a Xen lab: `deno task test:xen`.
 * Ends with 1 if one of them failed; what they say is on standard output. `deno run -A --no-check tests/lab/xen_long.ts
 * [NUMBER ...]` runs some of them.
 */

const CONTRACT = ["tests/contract_place.ts", "--columns", "long;real", "--backend"];

const PROGRAMS: readonly (readonly string[])[] = [
  ["tests/lab/xen_open.ts", "hvm"],
  ["tests/lab/xen_open.ts", "beside"],
  ["tests/lab/xen_events.ts", "hvm"],
  ["tests/lab/xen_leaving.ts", "hvm"],
  [...CONTRACT, "xen-pv"],
  ...["xen-pvh", "xen-pv", "xen-hvm"].map((backend) => ["tests/lab/xen_linux.ts", backend]),
  ...["xen-pvh", "xen-pv"].map((backend) => ["tests/lab/xen_two_cpus.ts", backend]),
  ...["pvh", "pv"].map((kind) => ["tests/lab/xen_rounds.ts", kind]),
  [...CONTRACT, "xen-hvm"],
];

const wanted = Deno.args.length > 0 ? Deno.args.map(Number) : PROGRAMS.map((_, index) => index + 1);
let failed = false;
for (const number of wanted) {
  const program = PROGRAMS[number - 1];
  if (program === undefined) {
    throw new RangeError(`There are programs 1 to ${PROGRAMS.length}, and no ${number}.`);
  }
  console.log(`${number}: ${program.join(" ")}`);
  const start = performance.now();
  const args = ["run", "--quiet", "-A", "--no-check", ...program];
  const { success } = await new Deno.Command(Deno.execPath(), { args, stdin: "null" }).spawn().status;
  console.log(
    `${number}: ${success ? "ok" : "FAILED"} (${((performance.now() - start) / 1e3).toFixed(0)} s)`,
  );
  failed ||= !success;
}
if (failed) Deno.exit(1);
