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
const KVM_SUITES = [
  "src/host",
  "src/kvm",
  "src/debug",
  "src/dsl",
  "tests/firmware_disk_test.ts",
  "tests/boot_loaders_test.ts",
  "tests/own_chips_test.ts",
  "tests/memtest_test.ts",
  "tests/ipxe_test.ts",
  "tests/gdb_test.ts",
];

/** The contract all backends keep; of its tests those are for /dev/kvm whose names say so. */
const CONTRACT = "tests/backend_contract_test.ts";
const KVM_TESTS = "[kvm";

const MODES = ["all", "quick", "kvm"] as const;

/** A test that hangs must not hang the run for ever: far more than all of them take on two busy cores. */
const LIMIT_MS = 50 * 60_000;

/** Runs Deno on our streams and gives its exit code. What asks us to end is for it; we wait, and stop the labs. */
async function deno(args: string[], env: Record<string, string> = {}): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), { args, env }).spawn();
  const end = () => {
    try {
      child.kill("SIGTERM");
    } catch {
      // it has just ended
    }
  };
  const ignore = () => {}; // Ctrl-C reaches the child by itself, being in our process group
  const timer = setTimeout(() => {
    console.error(`It did not end within ${LIMIT_MS / 60_000} minutes and is stopped.`);
    end();
  }, LIMIT_MS);
  Deno.addSignalListener("SIGTERM", end);
  Deno.addSignalListener("SIGINT", ignore);
  try {
    return (await child.status).code;
  } finally {
    clearTimeout(timer);
    Deno.removeSignalListener("SIGTERM", end);
    Deno.removeSignalListener("SIGINT", ignore);
  }
}

async function main([mode, ...rest]: string[]): Promise<number> {
  if (!MODES.some((name) => name === mode)) {
    console.error(`usage: run_tests.ts ${MODES.join(" | ")} [ARGUMENTS OF deno test]`);
    return 2;
  }
  if (mode === "kvm") {
    if (!exists("/dev/kvm")) console.error("There is no /dev/kvm here: what needs it is skipped.");
    const run = (args: string[]) =>
      deno(["test", "-A", "--no-check", ...args, ...rest], { [WITHOUT_LABS]: "1" });
    const suites = await run(KVM_SUITES.filter(exists));
    return await run(["--filter", KVM_TESTS, CONTRACT]) || suites;
  }
  // Nothing else sets a fresh machine up: the one command does it. It never fails for a package.
  if (mode === "all") await deno(["run", "-q", "-A", "--no-check", "tools/setup.ts"]);
  else skipReport(missingPackages()).forEach((line) => console.log(line));
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
