/** Xen's toolstack: domains are created and destroyed by the program that does it right. */

import { XenControl } from "../host/xen/control.ts";
import { storeEnvironment } from "../host/xen/store.ts";
import { HvshError } from "../vm/errors.ts";
import { storeInDomain } from "./domain.ts";
import { note, orphans, strike } from "./journal.ts";

/** What every domain of hvsh's own is called by first. */
export const NAME_PREFIX = "hvsh-";

/** How setsid(1) ends where the program can't be executed. */
const NOT_EXECUTED = [126, 127];

/** Runs `xl`; gives what it wrote. @throws {HvshError} If it fails, with what it said, or is not here. @throws {HostError} */
export function xl(...args: string[]): string {
  const env = storeEnvironment(inDomain);
  let result: Deno.CommandOutput;
  const missing = (cause?: unknown) =>
    new HvshError("xl can't be run", { cause, remedy: "install it: Debian's package xen-utils" });
  try {
    // In a session of its own: Ctrl-C in the middle of it would leave a domain that is made or ended by half. setsid(1)
    // executes it in its own place.
    result = new Deno.Command("setsid", { args: ["xl", ...args], stdin: "null", env }).outputSync();
  } catch (cause) {
    throw missing(cause);
  }
  if (NOT_EXECUTED.includes(result.code)) throw missing();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).trim();
  if (result.success) return text(result.stdout);
  throw new HvshError(`xl ${args[0]} failed: ${toldBy(text(result.stderr))}`, {
    remedy: "see `xl dmesg` and /var/log/xen",
  });
}

function inDomain(): boolean {
  using control = new XenControl();
  return storeInDomain(control);
}

/** What xl said: its first complaint as the sentence, what follows from that as lines below. */
export function toldBy(stderr: string): string {
  // "libxl: error: libxl_dom.c:1470:libxl__domain_build: Domain 17:Failed to ...": where in libxl helps no user.
  const lines = stderr.split("\n").map((line) => line.trim().replace(/^libxl: \w+: \S+?:\d+:\w+: /, ""))
    .filter((line) => line !== "");
  return lines.length === 0 ? "without a word" : lines.join("\n  ");
}

/** A file that a configuration names: its line is `KEY="PATH"`. */
export interface ConfigFile {
  readonly key: string;
  readonly bytes: Uint8Array;
}

/**
 * Creates a domain, paused; `lines` are its configuration (xl.cfg(5)) but for the name. Files are there, in a folder
 * that nobody else can enter, until the domain is built. Until `forget` or `destroy` the domain is this process's: if it
 * is killed, `cleanDomains` finds the domain.
 *
 * @throws {HvshError}
 */
export function createPaused(
  name: string,
  lines: readonly string[],
  files: readonly ConfigFile[] = [],
): void {
  const folder = Deno.makeTempDirSync({ prefix: "hvsh-" });
  try {
    const paths = files.map(({ key, bytes }) => {
      const path = `${folder}/${key}`;
      Deno.writeFileSync(path, bytes, { mode: 0o600 });
      return `${key}="${path}"`;
    });
    const config = `${folder}/domain.cfg`;
    Deno.writeTextFileSync(config, `${[`name="${name}"`, ...lines, ...paths].join("\n")}\n`);
    note(name);
    try {
      xl("create", "-q", "-p", config);
    } catch (error) {
      strike(name);
      throw error;
    }
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Destroys a domain that `createPaused` made. @throws {HvshError} */
export function destroy(name: string): void {
  xl("destroy", name);
  strike(name);
}

/** The domain is nobody's any more: it goes on when this process ends. */
export function forget(name: string): void {
  strike(name);
}

/**
 * Destroys the domains that a killed hvsh left.
 *
 * @param exists Whether there is a domain of that name still.
 * @returns Their names, sorted.
 */
export function cleanDomains(exists: (name: string) => boolean): string[] {
  return orphans().filter((name) => {
    const there = exists(name);
    if (there) xl("destroy", name);
    strike(name);
    return there;
  });
}
