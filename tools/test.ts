/**
 * `deno task test`: everything `deno task ok` checks, then every test, the labs included where their packages are.
 * `test:quick` leaves the labs out; `test:kvm` runs what needs /dev/kvm alone, here or in a lab
 * (`deno task lab kvm -- deno task test:kvm`). Further arguments go to `deno test`.
 */
import { SHARED_OWNER, stopShared, WITHOUT_LABS } from "../tests/lab/shared.ts";
import { missingPackages, skipReport } from "../tests/lab/packages.ts";

/** Where the report for `.ci/run` goes; ignored by git. */
const REPORT = "build/test/junit.xml";

/** The suites that run guests on /dev/kvm. */
const KVM_SUITES = ["src/kvm", "src/debug", "src/dsl", "src/host", "tests/backend_contract_test.ts"];

const MODES = ["all", "quick", "kvm"] as const;

function deno(args: string[], env: Record<string, string> = {}): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), { args, env }).spawn();
  // Ctrl-C reaches the child too, being in our process group; we wait for it to end, and then stop the labs.
  return child.status.then(({ code }) => code);
}

async function main([mode, ...rest]: string[]): Promise<number> {
  if (!MODES.some((name) => name === mode)) {
    console.error(`usage: test.ts ${MODES.join(" | ")} [ARGUMENTS OF deno test]`);
    return 2;
  }
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => {});
  if (mode === "kvm") {
    if (!exists("/dev/kvm")) console.error("There is no /dev/kvm here: what needs it is skipped.");
    return await deno(["test", "-A", "--no-check", ...KVM_SUITES.filter(exists), ...rest], {
      [WITHOUT_LABS]: "1",
    });
  }
  skipReport(missingPackages()).forEach((line) => console.log(line));
  const ok = await deno(["task", "ok"]);
  // Types were checked just now.
  const test = ["test", "-A", "--no-check", `--junit-path=${REPORT}`, ...rest];
  try {
    const tests = await deno(
      test,
      mode === "quick" ? { [WITHOUT_LABS]: "1" } : { [SHARED_OWNER]: String(Deno.pid) },
    );
    if (ok !== 0) console.error("`deno task ok` failed, see above.");
    return tests || ok;
  } finally {
    await stopShared(Deno.pid);
  }
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

Deno.exit(await main(Deno.args));
