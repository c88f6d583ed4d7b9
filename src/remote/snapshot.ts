import { StateError } from "../vm/errors.ts";
import {
  GENERAL,
  REGISTER_GROUPS,
  REGISTER_NAMES,
  type RegisterGroup,
  type RegisterName,
  type Registers,
} from "../vm/registers.ts";

/** Registers of one vCPU at one moment, by name. */
export type RegisterMap = ReadonlyMap<RegisterName, bigint>;

/** Where a snapshot's registers come from, as long as the vCPU stands where it stood. */
export interface SnapshotSource {
  /** Counts what changes the vCPU. */
  readonly generation: number;
  /** General, segment and control registers, and all else that comes with them in one question. */
  main(): RegisterMap;
  /** The rest. */
  rest(): RegisterMap;
}

/** Groups that stay readable after the guest went on. */
const LASTING: readonly RegisterGroup[] = ["general", "segment", "control"];

const GROUP_OF = new Map<RegisterName, RegisterGroup>(
  (Object.entries(REGISTER_GROUPS) as [RegisterGroup, readonly RegisterName[]][])
    .flatMap(([group, names]) => names.map((name) => [name, group] as const)),
);

/** Registers as they were when asked for, fetched when first read. */
export class Snapshot {
  readonly #source: SnapshotSource;
  readonly #generation: number;
  readonly #read = new Set<RegisterGroup>();
  #main: RegisterMap | undefined;
  #rest: RegisterMap | undefined;

  constructor(source: SnapshotSource) {
    this.#source = source;
    this.#generation = source.generation;
  }

  /** Fetches what has to last. Called before the guest goes on. */
  materialise(): void {
    this.#main ??= this.#source.main();
  }

  #get(name: RegisterName): bigint {
    const group = GROUP_OF.get(name)!;
    const current = this.#source.generation === this.#generation;
    if (current) this.materialise();
    else if (this.#main === undefined || (!LASTING.includes(group) && !this.#read.has(group))) stale(group);
    this.#read.add(group);
    const value = this.#main?.get(name);
    if (value !== undefined) return value;
    if (current) this.#rest ??= this.#source.rest();
    return this.#rest?.get(name) ?? 0n;
  }

  static {
    for (const name of REGISTER_NAMES) {
      Object.defineProperty(Snapshot.prototype, name, {
        get(this: Snapshot): bigint {
          return this.#get(name);
        },
        enumerable: true,
      });
    }
  }

  /** What `console.log` shows: the general registers. */
  [Symbol.for("Deno.customInspect")](): string {
    return `Registers { ${GENERAL.map((name) => `${name}: 0x${this.#get(name).toString(16)}`).join(", ")} }`;
  }
}

/** The same, as everybody else sees it. */
export function asRegisters(snapshot: Snapshot): Registers {
  return snapshot as unknown as Registers;
}

function stale(group: string): never {
  throw new StateError(
    `These registers are of an earlier moment, and the ${group} group was not read then.`,
    "stale",
    { remedy: "Ask for registers() again, or read one of the group before the guest goes on." },
  );
}
