/** Xen's toolstack: domains are created and destroyed by the program that does it right. */

import { HvshError } from "../vm/errors.ts";

/** What every domain of hvsh's own is called by first. */
export const NAME_PREFIX = "hvsh-";

/** Runs `xl`. @throws {HvshError} If it fails, with what it said, or is not here. */
export function xl(...args: string[]): void {
  let result: Deno.CommandOutput;
  try {
    result = new Deno.Command("xl", { args, stdin: "null" }).outputSync();
  } catch (cause) {
    throw new HvshError("xl can't be run", { cause, remedy: "install it: Debian's package xen-utils" });
  }
  if (result.success) return;
  const said = new TextDecoder().decode(result.stderr).trim() || "without a word";
  throw new HvshError(`xl ${args[0]} failed: ${said}`, { remedy: "see `xl dmesg` and /var/log/xen" });
}

/** Creates a domain, paused; `lines` are its configuration (xl.cfg(5)) but for the name. @throws {HvshError} */
export function createPaused(name: string, lines: readonly string[]): void {
  const file = Deno.makeTempFileSync({ prefix: "hvsh-", suffix: ".cfg" });
  try {
    Deno.writeTextFileSync(file, `${[`name="${name}"`, ...lines].join("\n")}\n`);
    xl("create", "-q", "-p", file);
  } finally {
    Deno.removeSync(file);
  }
}
