/** Counts what the test sanitizers can't see: raw file descriptors, mappings and resident memory of this process. */

/** What the process holds at one moment. */
export interface Holdings {
  /** Open file descriptors, by what they lead to (`anon_inode:kvm-vm`, a path). */
  readonly fds: readonly string[];
  /** Mappings that lead to a file or device (`anon_inode:kvm-vcpu:0`), by name. */
  readonly maps: readonly string[];
  /** Number of all mappings, V8's own included. */
  readonly mapCount: number;
  /** Bytes of address space. */
  readonly virtual: number;
  /** Bytes of memory in use. */
  readonly resident: number;
}

/** What grew between two moments. */
export interface Growth {
  /** Descriptors that were not there before. */
  readonly fds: readonly string[];
  /** Named mappings that were not there before. */
  readonly maps: readonly string[];
  /** By how much the number of all mappings grew. */
  readonly mapCount: number;
  /** By how many bytes the address space grew. */
  readonly virtual: number;
  /** By how many bytes the memory in use grew. */
  readonly resident: number;
}

/** What the process holds now. */
export function holdings(): Holdings {
  const fds: string[] = [];
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      fds.push(Deno.readLinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The descriptor that reads the directory is gone by now.
    }
  }
  const lines = Deno.readTextFileSync("/proc/self/maps").trim().split("\n");
  const maps = lines.map((line) => line.split(/\s+/)[5] ?? "").filter((name) =>
    /^(\/|anon_inode)/.test(name)
  );
  const [virtual, resident] = Deno.readTextFileSync("/proc/self/statm").split(" ").map((pages) =>
    Number(pages) * 4096
  );
  return { fds: fds.sort(), maps: maps.sort(), mapCount: lines.length, virtual, resident };
}

/** Elements of `after` beyond those of `before`, as often as they came. */
function beyond(before: readonly string[], after: readonly string[]): string[] {
  const left = [...before];
  return after.filter((each) => {
    const at = left.indexOf(each);
    if (at >= 0) left.splice(at, 1);
    return at < 0;
  });
}

/** What grew from `before` to `after`. */
export function growth(before: Holdings, after: Holdings): Growth {
  return {
    fds: beyond(before.fds, after.fds),
    maps: beyond(before.maps, after.maps),
    mapCount: after.mapCount - before.mapCount,
    virtual: after.virtual - before.virtual,
    resident: after.resident - before.resident,
  };
}

/**
 * Runs `use` a few times to warm up, then `times` more, and tells what grew meanwhile.
 *
 * @param use What must leave nothing behind.
 * @param times How often it is run while watched.
 */
export async function growthOf(use: () => void | Promise<void>, times = 1): Promise<Growth> {
  for (let i = 0; i < 3; i++) await use();
  const before = holdings();
  for (let i = 0; i < times; i++) await use();
  return growth(before, holdings());
}
