/** The contract in a lab, whose results come back as lines while it runs. */
import type { BackendName } from "../mod.ts";
import type { ContractResult } from "./backend_contract.ts";
import type { Absent, PlaceLine } from "./contract_place.ts";
import type { Lab } from "./lab/lab.ts";

/**
 * What is run in a lab: every exit costs some 60 us there and every guest half a second, and these two modes are what
 * tells an ordinary KVM, or Xen, from others. `deno task lab kvm -- deno task test:kvm` runs all, those with two vCPUs too,
 * whose threads take seconds to start there.
 */
export const LAB_COLUMNS = "real;long";

/** Some three minutes on a quiet machine; cores that are shared with others get more. */
const LIMIT_MS = 20 * 60_000;

/** What came of a run in a lab. */
export interface LabContract {
  readonly results: readonly ContractResult[];
  /** Backends that could not be used there, and why. */
  readonly absent: readonly Absent[];
  /** Why the run as a whole is not to be trusted; undefined if it ended as it should. */
  readonly problem?: string;
}

/** Reads the lines of `contract_place.ts --json`. @throws {SyntaxError} If one is none of its lines. */
export function readLines(text: string): Pick<LabContract, "results" | "absent"> {
  const lines = text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line) as PlaceLine);
  return {
    results: lines.filter((line): line is ContractResult => !("absent" in line)),
    absent: lines.filter((line): line is Absent => "absent" in line),
  };
}

/** What a lab has a backend for: its column, or those groups of it that don't take too long. */
export interface LabColumn {
  readonly lab: "kvm" | "xen";
  readonly backend: BackendName;
  /** Groups of cases; all if left out. `deno task test:xen` runs the rest. */
  readonly groups?: readonly string[];
}

/** The toolstack takes seconds for each PV guest, and for an HVM guest, which has a QEMU, twice as long. */
export const LAB_CONTRACT: readonly LabColumn[] = [
  { lab: "kvm", backend: "kvm" },
  { lab: "xen", backend: "xen-pvh" },
  { lab: "xen", backend: "xen-pv", groups: ["step", "console"] },
];

/** Runs the contract on a backend that a lab has. @throws {LabError} If the lab is lost. */
export async function contractInLab(lab: Lab, { backend, groups = [] }: LabColumn): Promise<LabContract> {
  const program = ["deno", "run", "--quiet", "-A", "--no-check", "tests/contract_place.ts"];
  const { stdout, stderr, code, timedOut } = await lab.output(
    [
      ...program,
      "--backend",
      backend,
      "--columns",
      LAB_COLUMNS,
      "--json",
      ...groups.flatMap((group) => ["--group", group]),
    ],
    { cwd: new URL("..", import.meta.url).pathname, timeoutMs: LIMIT_MS },
  );
  const found = readLines(stdout);
  if (timedOut) return { ...found, problem: `it did not end within ${LIMIT_MS / 60_000} minutes` };
  const failed = found.results.some(({ outcome }) => outcome === "failed");
  if (found.results.length === 0 || (code !== 0 && !failed)) {
    return { ...found, problem: `it ended with exit code ${code}: ${stderr.trim() || "without a word"}` };
  }
  return found;
}
