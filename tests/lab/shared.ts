/** Labs for tests: one of a kind is started when the first test asks, and the others share it. */
import { LabError } from "./errors.ts";
import { folderNames } from "./folder.ts";
import { Lab } from "./lab.ts";
import { missingFor } from "./packages.ts";
import type { LabKind } from "./qemu.ts";
import { startLab, type StartOptions } from "./start.ts";

/** Environment: set by `deno task test:quick`, labs are left out. */
export const WITHOUT_LABS = "HVSH_WITHOUT_LABS";

/** Environment: the process that stops the shared labs, when it is not the one that runs the tests. */
export const SHARED_OWNER = "HVSH_SHARED_LABS";

/** A lab that the tests of a run have in common. */
export interface SharedLab {
  /** Whether its tests must be skipped: for `Deno.test({ignore})`. Why was printed. */
  ignore: boolean;
  /**
   * The lab, started when it isn't running.
   *
   * @throws {LabError} If it can't be started, or, for Xen, does not pass its check.
   */
  get(): Promise<Lab>;
}

/**
 * Why there can be no lab of this kind here, or null. A lab inside a lab would work and take minutes; there is none.
 */
export function whyNoLab(kind: LabKind): string | null {
  if (Deno.env.get(WITHOUT_LABS)) return "left out by test:quick or test:kvm";
  if (Deno.env.get("HVSH_LAB")) return "this is a lab";
  const missing = missingFor(`${kind} lab`);
  return missing.length === 0
    ? null
    : `missing packages: ${missing.join(", ")}; deno task setup installs them`;
}

/**
 * The shared lab of a kind, for a test file to ask for at its top. Prints a line when its tests will be skipped. Run by
 * `deno task test`, all files share one lab; a file run by itself has its own, stopped after its last test.
 */
export function sharedLab(kind: LabKind): SharedLab {
  const reason = whyNoLab(kind);
  if (reason !== null) console.error(`The ${kind} lab's tests are skipped: ${reason}.`);
  const outside = Deno.env.get(SHARED_OWNER);
  const owner = outside ? Number(outside) : Deno.pid;
  const name = `${prefix(owner)}${kind}`;
  if (reason === null && !outside) Deno.test.afterAll(() => new Lab(name).stop());
  return {
    ignore: reason !== null,
    async get() {
      let lab = running(name);
      if (lab === null) {
        await new Lab(name).stop(); // what a test that killed it left
        lab = await startLab(kind, { name, keep: true, owner });
      }
      if (!lab.record.vouched) throw new LabError(`No result of the lab can be trusted: ${lab.record.check}`);
      return lab;
    },
  };
}

/** Runs `use` with a lab of its own, which is stopped at the end whatever happens. */
export async function withLab<T>(
  kind: LabKind,
  use: (lab: Lab) => Promise<T>,
  options: StartOptions = {},
): Promise<T> {
  const lab = await startLab(kind, { ...options, keep: true, owner: Deno.pid });
  try {
    return await use(lab);
  } finally {
    await lab.stop();
  }
}

/** Stops the labs that tests shared under an owner. */
export async function stopShared(owner: number): Promise<void> {
  for (const name of folderNames()) {
    if (name.startsWith(prefix(owner))) await new Lab(name).stop();
  }
}

function prefix(owner: number): string {
  return `test-${owner}-`;
}

function running(name: string): Lab | null {
  try {
    return Lab.find(name);
  } catch (error) {
    if (error instanceof LabError) return null;
    throw error;
  }
}
