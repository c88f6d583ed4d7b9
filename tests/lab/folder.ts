import { LabError } from "./errors.ts";
import { FILES, type LabKind } from "./qemu.ts";

/** What is known of a lab from outside, in its folder as `lab.json`. */
export interface LabRecord {
  kind: LabKind;
  /** Whether it outlives the command that started it. */
  kept: boolean;
  /** The process that started it; a lab that is not kept ends with it. */
  owner: number;
  /** In QEMU's command line, so that a process number used anew is not taken for the lab. */
  uuid: string;
  /** The folder that is read from the host anew for each command. */
  work: string;
  /** Xen's tools, which Debian keeps out of PATH. */
  tools?: string;
  /** Milliseconds since 1970. */
  started: number;
  /** What the Xen lab's check of itself found; absent before it ran, and in the KVM lab. */
  check?: string;
  /** Whether results of the lab can be trusted. */
  vouched: boolean;
}

/** One folder per user holds a folder per lab. Under /tmp, since a socket's path has at most 107 bytes. */
export function labsFolder(): string {
  return `/tmp/hvsh-labs-${Deno.uid()}`;
}

/**
 * A new lab's folder, made; the name is `wanted`, or KIND-N with the first number that is free.
 *
 * @throws {LabError} If the name is taken, or the folder can't be made or belongs to someone else.
 */
export function makeFolder(kind: LabKind, wanted?: string): { name: string; folder: string } {
  const base = labsFolder();
  try {
    Deno.mkdirSync(base, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new LabError(`Could not make ${base}: ${error instanceof Error ? error.message : error}`, {
      cause: error,
      remedy: "Free some space in /tmp, or make it writable.",
    });
  }
  const info = Deno.lstatSync(base);
  if (!info.isDirectory || info.uid !== Deno.uid()) {
    throw new LabError(`${base} belongs to someone else.`, { remedy: `Remove it and start the lab again.` });
  }
  Deno.chmodSync(base, 0o700);
  if (wanted !== undefined && !/^[\w.-]{1,40}$/.test(wanted)) {
    throw new LabError(`${wanted} can't be a lab's name: letters, digits, "-", "_" and "." can.`);
  }
  for (let n = 1;; n++) {
    const name = wanted ?? `${kind}-${n}`;
    try {
      Deno.mkdirSync(`${base}/${name}`, { mode: 0o700 });
      return { name, folder: `${base}/${name}` };
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      if (wanted !== undefined) {
        throw new LabError(`There is a lab ${wanted} already.`, {
          cause: error,
          remedy: `Stop it first: deno task lab stop ${wanted}`,
        });
      }
    }
  }
}

/** The names of all folders of labs, sorted. */
export function folderNames(): string[] {
  try {
    return [...Deno.readDirSync(labsFolder())].map((entry) => entry.name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** Writes the record; a reader sees the old one or the new one. */
export function writeRecord(folder: string, record: LabRecord): void {
  Deno.writeTextFileSync(`${folder}/lab.json.new`, JSON.stringify(record, null, 2));
  Deno.renameSync(`${folder}/lab.json.new`, `${folder}/lab.json`);
}

/** The record of the lab in a folder, or null when there is none (yet). */
export function readRecord(folder: string): LabRecord | null {
  try {
    return JSON.parse(Deno.readTextFileSync(`${folder}/lab.json`)) as LabRecord;
  } catch {
    return null;
  }
}

/** The process number of the lab's QEMU while it lives, else null. */
export function qemuProcess(folder: string, record: LabRecord): number | null {
  try {
    const pid = Number(Deno.readTextFileSync(`${folder}/${FILES.pid}`));
    // A dead process that nobody has waited for has an empty command line.
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`).includes(record.uuid) ? pid : null;
  } catch {
    return null;
  }
}

/** Whether a process exists. */
export function processLives(pid: number): boolean {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/cmdline`) !== "";
  } catch {
    return false;
  }
}

/** Ends the lab's QEMU, if it lives, and removes the folder. A lab has nothing that is worth an orderly shutdown. */
export async function destroy(folder: string): Promise<void> {
  const record = readRecord(folder);
  const started = Date.now();
  while (record !== null) {
    const pid = qemuProcess(folder, record);
    if (pid === null) break;
    try {
      Deno.kill(pid, Date.now() - started < 3000 ? "SIGTERM" : "SIGKILL");
    } catch {
      break; // it has just ended
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await Deno.remove(folder, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}

/** Removes what labs left behind whose owner was killed, or whose QEMU ended by itself. */
export async function sweep(): Promise<void> {
  for (const name of folderNames()) {
    const folder = `${labsFolder()}/${name}`;
    const record = readRecord(folder);
    if (record === null) {
      // No record yet: a lab that is just being made, unless it is old.
      const made = Deno.statSync(folder).mtime?.getTime() ?? 0;
      if (Date.now() - made > 60_000) await destroy(folder);
    } else if (!processLives(record.owner) && (!record.kept || qemuProcess(folder, record) === null)) {
      await destroy(folder);
    }
  }
}
