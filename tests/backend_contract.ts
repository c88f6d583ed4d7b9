/**
 * The backend contract: what every backend promises through the public interfaces, case by case. A backend is
 * a factory and a list of what it is let off; `backend_contract_test.ts` runs it as tests, `runContract` as a
 * function that gives the results as data.
 */

import { BREAKPOINT_CASES } from "./contract/breakpoints.ts";
import {
  boot,
  type Case,
  CODE,
  type Context,
  type ContractBackend,
  type GuestSpec,
  MEMORY,
  NotHere,
  orSkipped,
} from "./contract/case.ts";
import { CONSOLE_CASES } from "./contract/console.ts";
import { DEVICE_CASES } from "./contract/devices.ts";
import { CLOSE_CASES, ERROR_CASES } from "./contract/lifecycle.ts";
import { MEMORY_CASES } from "./contract/memory.ts";
import { PAUSE_CASES } from "./contract/pause.ts";
import { REGISTER_CASES } from "./contract/registers.ts";
import { STEP_CASES } from "./contract/step.ts";
import { STOP_CASES } from "./contract/stops.ts";
import { ACCESS_CASES, WATCHPOINT_CASES } from "./contract/watchpoints.ts";
import type { Machine, OpenOptions } from "../mod.ts";

export type { Case, ContractBackend, Mode } from "./contract/case.ts";

/** Every case, group by group. */
export const CONTRACT: readonly Case[] = [
  ...MEMORY_CASES,
  ...REGISTER_CASES,
  ...STEP_CASES,
  ...BREAKPOINT_CASES,
  ...WATCHPOINT_CASES,
  ...ACCESS_CASES,
  ...PAUSE_CASES,
  ...DEVICE_CASES,
  ...CONSOLE_CASES,
  ...STOP_CASES,
  ...CLOSE_CASES,
  ...ERROR_CASES,
];

/** What came of one case on one backend. */
export interface ContractResult {
  readonly group: string;
  readonly name: string;
  readonly backend: string;
  readonly place: string;
  /** The backend's default mode and variant. */
  readonly mode: string;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it was skipped, or the error's message. */
  readonly reason?: string;
  /** Milliseconds. */
  readonly time: number;
}

/** The column of a backend: its mode and variant. */
export function columnOf(backend: ContractBackend): string {
  return backend.variant === undefined ? backend.mode : `${backend.mode}, ${backend.variant}`;
}

/** Whether the clause is for another mode than the one of this column, and so has no place in it. */
export function isForeign(backend: ContractBackend, { modes }: Case): boolean {
  return modes !== undefined && !modes.includes(backend.mode) && modes.some((m) => backend.modes.includes(m));
}

/** Why `backend` is let off `clause`; undefined if it is not. */
export function skipReason(backend: ContractBackend, clause: Case): string | undefined {
  const { group, name, modes } = clause;
  if (modes !== undefined && !modes.includes(backend.mode)) {
    return `this backend does not start guests in ${modes.join(" or ")} mode`;
  }
  const entry = backend.skip.find(({ tests }) =>
    tests.includes(`${group}: ${name}`) || tests.includes(`${group}: *`)
  );
  return entry?.reason;
}

/**
 * No case takes that long anywhere: what does, hangs. The longest is the first on Xen that asks for what the probe finds,
 * which makes three domains: half a minute each in a lab on busy cores.
 */
const CASE_MS = 240_000;

/** Runs one case. @throws Whatever it asserts, and if it does not end. */
export async function runCase(backend: ContractBackend, clause: Case): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const open = async (options: OpenOptions): Promise<Machine> => stack.use(await backend.open(options));
  const context: Context = {
    backend,
    open,
    async guest({ code, mode = backend.mode, registers, cpus, devices, irqchip }: GuestSpec) {
      const make = () =>
        open({
          memory: MEMORY,
          boot: boot(code, backend, mode),
          ...(cpus !== undefined && { cpus }),
          ...(devices !== undefined && { devices }),
          ...(irqchip !== undefined && { irqchip }),
        });
      const refused = devices !== undefined && backend.lacks?.includes("devices");
      const vm = refused ? await orSkipped(make) : await make();
      await vm.vcpus[0].setRegisters({ rip: BigInt(CODE), ...registers });
      return vm;
    },
  };
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`it did not end within ${CASE_MS / 1000} s`)), CASE_MS);
  });
  try {
    // Leaving closes the machines, which ends a guest that still runs.
    await Promise.race([clause.run(context), late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs one case and says what came of it; skips what the backend is let off. */
export async function judge(
  backend: ContractBackend,
  clause: Case,
): Promise<ContractResult & { error?: unknown }> {
  const { group, name } = clause;
  const result = { group, name, backend: backend.name, place: backend.place, mode: columnOf(backend) };
  const reason = skipReason(backend, clause);
  if (reason !== undefined) return { ...result, outcome: "skipped", reason, time: 0 };
  const start = performance.now();
  try {
    await runCase(backend, clause);
    return { ...result, outcome: "passed", time: performance.now() - start };
  } catch (error) {
    const time = performance.now() - start;
    if (error instanceof NotHere) return { ...result, outcome: "skipped", reason: error.reason, time };
    const message = error instanceof Error ? error.message : String(error);
    return { ...result, outcome: "failed", reason: message, time, error };
  }
}

/**
 * Runs the whole contract on one backend.
 *
 * @param onResult Called after each case.
 * @param wanted Which cases to run; all if left out.
 */
export async function runContract(
  backend: ContractBackend,
  onResult: (result: ContractResult) => void = () => {},
  wanted: (clause: Case) => boolean = () => true,
): Promise<ContractResult[]> {
  const results: ContractResult[] = [];
  for (const clause of CONTRACT) {
    if (isForeign(backend, clause) || !wanted(clause)) continue;
    const { error: _, ...result } = await judge(backend, clause);
    results.push(result);
    onResult(result);
  }
  return results;
}
