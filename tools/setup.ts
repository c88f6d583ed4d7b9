/**
 * `deno task setup`: fetches the npm packages that hvsh loads when it first needs them, so that it starts without a
 * network from then on, and installs the Debian packages that tests and labs use, where it may; says what is missing
 * where it may not. hvsh itself needs none of Debian's, so this never fails for one. Arguments name Debian packages:
 * only those then; `npm` is none of them.
 */
import { missingPackages, type Package, PACKAGES, skipReport } from "../tests/lab/packages.ts";

/** How apt may be run: as root, by sudo without a password, or not at all. */
function privilege(): string[] | null {
  if (Deno.uid() === 0) return [];
  try {
    const { success } = new Deno.Command("sudo", { args: ["-n", "true"], stdout: "null", stderr: "null" })
      .outputSync();
    return success ? ["sudo", "-n"] : null;
  } catch {
    return null;
  }
}

function has(program: string): boolean {
  try {
    new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync();
    return true;
  } catch {
    return false;
  }
}

/** Runs apt-get with its progress on our own streams. */
function apt(prefix: string[], args: string[]): boolean {
  const [program, ...rest] = [...prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", ...args];
  console.log(`> apt-get ${args.join(" ")}`);
  return new Deno.Command(program, { args: rest, stdin: "null", stdout: "inherit", stderr: "inherit" })
    .outputSync().success;
}

/** Debian's Xen makes itself GRUB's first choice: on a machine that boots by GRUB that is not ours to decide. */
function withoutBootChanges(missing: Package[]): Package[] {
  const kept = missing.filter(({ boots }) => boots);
  if (kept.length === 0 || !exists("/boot/grub/grub.cfg")) return missing;
  const names = kept.map(({ name }) => name).join(" ");
  console.log(`setup: not installed by itself: ${names}, since GRUB would then boot Xen on this machine.`);
  console.log(`  If you want that: sudo apt-get install --no-install-recommends ${names}`);
  skipReport(kept).forEach((line) => console.log(line));
  return missing.filter(({ boots }) => !boots);
}

function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Fetches what deno.lock names. Most of it is loaded late (a disassembler, the prompt's parser): too late to miss it. */
function fetchNpmPackages(): void {
  const { success } = new Deno.Command(Deno.execPath(), {
    args: ["install", "-q", "--frozen"],
    cwd: new URL("../", import.meta.url),
    stdin: "null",
  }).outputSync();
  console.log(
    success
      ? "setup: the npm packages of deno.lock are there."
      : "setup: the npm packages of deno.lock can't all be fetched now; `deno install` shows why.",
  );
}

/** @param wanted Names of packages; all of the table if there are none. */
function main(wanted: readonly string[]): number {
  fetchNpmPackages();
  const packages = wanted.length === 0 ? PACKAGES : PACKAGES.filter(({ name }) => wanted.includes(name));
  const missing = withoutBootChanges(missingPackages(packages));
  if (missing.length === 0) {
    console.log("setup: nothing to install.");
    return 0;
  }
  const names = missing.map(({ name }) => name);
  if (!has("apt-get")) {
    console.log(
      `setup: this is no Debian; the tests and labs use what these packages hold: ${names.join(" ")}`,
    );
    skipReport(missing).forEach((line) => console.log(line));
    return 0;
  }
  const prefix = privilege();
  if (prefix === null) {
    console.log(`setup: ${names.length} packages are missing; to install them:`);
    console.log(`  sudo apt-get install --no-install-recommends ${names.join(" ")}`);
    skipReport(missing).forEach((line) => console.log(line));
    return 0;
  }
  console.log(`setup: installing ${names.length} packages: ${names.join(" ")}`);
  const quiet = ["-y", "-q", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3"];
  // The lists of a fresh machine are empty or old; where they can't be fetched, old ones may do.
  if (!apt(prefix, ["update", ...quiet])) {
    console.log("setup: apt-get update failed; going on with the lists as they are.");
  }
  const install = (packages: string[]) =>
    apt(prefix, ["install", "--no-install-recommends", ...quiet, ...packages]);
  if (!install(names)) {
    // One that this release does not have must not keep the others away.
    console.log("setup: not all at once; one by one.");
    for (const name of names) install([name]);
  }
  const left = missingPackages(packages);
  if (left.length === 0) {
    console.log("setup: every package is there.");
    return 0;
  }
  console.log(`setup: still missing: ${left.map(({ name }) => name).join(" ")}`);
  skipReport(left).forEach((line) => console.log(line));
  return 0;
}

Deno.exit(main(Deno.args));
