/** Which domains hvsh made, and for which process: a note for each, so that what a killed hvsh left can be told. */

/** Where the notes lie: gone after a restart of the host, as domains are. */
const FOLDER = "/run/hvsh-domains";

/** Who made a domain. A process number comes again; together with its start time it does not. */
export interface Owner {
  readonly pid: number;
  /** When it was started, in clock ticks since the host was (proc(5), starttime). */
  readonly started: string;
}

/** Writes down that this process makes the domain `name`. */
export function note(name: string, folder: string = FOLDER): void {
  Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
  Deno.writeTextFileSync(`${folder}/${name}`, JSON.stringify(thisProcess()));
}

/** Takes the note back: the domain is gone, or shall be kept. Idempotent. */
export function strike(name: string, folder: string = FOLDER): void {
  try {
    Deno.removeSync(`${folder}/${name}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Names of domains that were made by processes which are no more, sorted. */
export function orphans(folder: string = FOLDER): string[] {
  let names: string[];
  try {
    names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  return names.filter((name) => {
    const owner = read(`${folder}/${name}`);
    return owner !== undefined && !isAlive(owner.pid, owner.started);
  }).sort();
}

/** Undefined where the note is gone, or half written: whoever writes it lives. */
function read(path: string): Owner | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(path)) as Owner;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

let self: Owner | undefined;

/** This process, as an owner. */
export function thisProcess(): Owner {
  return self ??= { pid: Deno.pid, started: startOf(Deno.pid) ?? "" };
}

/** Whether a process is there still: that very one where it is told when it was started. */
export function isAlive(pid: number, started?: string): boolean {
  const now = startOf(pid);
  return now !== undefined && (started === undefined || now === started);
}

/** When a process was started; undefined if there is none of that number. */
function startOf(pid: number): string | undefined {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    // Field 22. The second, the program's name, stands in parentheses and may hold blanks.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
