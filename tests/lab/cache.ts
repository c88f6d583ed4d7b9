import { createHash } from "node:crypto";
import { LabError } from "./errors.ts";

/**
 * What a program prints, given its standard input.
 *
 * @throws {LabError} If it fails, with what it said, or if it isn't installed.
 */
export async function run(
  command: string,
  args: string[],
  input: Uint8Array = new Uint8Array(0),
): Promise<Uint8Array<ArrayBuffer>> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(command, { args, stdin: "piped", stdout: "piped", stderr: "piped" }).spawn();
  } catch (error) {
    throw new LabError(`${command} isn't installed.`, {
      cause: error,
      remedy: "Install what is missing: deno task setup.",
    });
  }
  const feed = async () => {
    const writer = child.stdin.getWriter();
    await writer.write(input);
    await writer.close();
  };
  const [{ success, stdout, stderr }] = await Promise.all([child.output(), feed().catch(() => {})]);
  if (!success) throw new LabError(`${command} failed: ${new TextDecoder().decode(stderr).trim()}`);
  return stdout;
}

/**
 * The file `PREFIX-KEY` of the cache, made by `make` when it is not there; files of the same prefix with another key
 * are of an older package and go. It is written beside and renamed, so that a lab starting at the same moment never
 * sees half a file.
 *
 * @returns Its path.
 * @throws {LabError} If the cache can't be written, a full disk included.
 */
export async function cached(
  folder: string,
  prefix: string,
  key: string,
  make: () => Uint8Array | Promise<Uint8Array>,
): Promise<string> {
  const target = `${folder}/${prefix}-${key}`;
  if (exists(target)) return target;
  const part = `${target}.${Deno.pid}.part`;
  try {
    Deno.mkdirSync(folder, { recursive: true });
    Deno.writeFileSync(part, await make(), { mode: 0o755 });
    for (const { name } of Deno.readDirSync(folder)) {
      if (name.startsWith(`${prefix}-`) && !name.endsWith(".part")) Deno.removeSync(`${folder}/${name}`);
    }
    Deno.renameSync(part, target);
  } catch (error) {
    if (exists(part)) Deno.removeSync(part);
    throw asLabError(error, `write ${target}`);
  }
  return target;
}

/** A short name for the state of some files: a package brought up to date changes their sizes or dates. */
export function fingerprint(paths: readonly string[]): string {
  const hash = createHash("sha256");
  for (const path of paths) {
    const { size, mtime } = stat(path);
    hash.update(`${path}\0${size}\0${mtime?.getTime()}\0`);
  }
  return hash.digest("hex").slice(0, 16);
}

/** An error as a {@linkcode LabError}; a full disk gets its remedy. */
export function asLabError(error: unknown, doing: string): LabError {
  if (error instanceof LabError) return error;
  const full = error instanceof Error && /ENOSPC|No space|os error 28/.test(error.message);
  return new LabError(`Could not ${doing}: ${error instanceof Error ? error.message : error}`, {
    cause: error,
    remedy: full ? "The disk is full: free some megabytes and start the lab again." : undefined,
  });
}

/**
 * What is known of a file the lab needs.
 *
 * @throws {LabError} If it isn't there.
 */
export function stat(path: string): Deno.FileInfo {
  try {
    return Deno.statSync(path);
  } catch (error) {
    throw new LabError(`${path} is needed for the lab and can't be read.`, {
      cause: error,
      remedy: "Install what is missing: deno task setup.",
    });
  }
}

/** Whether there is such a file; a dangling link counts. */
export function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
