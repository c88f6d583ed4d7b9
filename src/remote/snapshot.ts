import { StateError } from "../vm/errors.ts";
import {
  GENERAL,
  REGISTER_GROUPS,
  REGISTER_NAMES,
  type RegisterGroup,
  type RegisterName,
  type Registers,
} from "../vm/registers.ts";

/** Registers of one vCPU at one moment, by name; undefined for those that are not known. */
export type RegisterMap = Pick<ReadonlyMap<RegisterName, bigint>, "get">;

/** Where a snapshot's registers come from, as long as the vCPU stands where it stood. */
export interface SnapshotSource {
  /** Counts what changes the vCPU. */
  readonly generation: number;
  /** What the stub shows, in one question: general registers, selectors, most control registers, vectors. */
  shown(): RegisterMap;
  /** What it hides: descriptor caches and tables, debug registers. */
  hidden(): RegisterMap;
}

const GROUP_OF = new Map<RegisterName, RegisterGroup>(
  (Object.entries(REGISTER_GROUPS) as [RegisterGroup, readonly RegisterName[]][])
    .flatMap(([group, names]) => names.map((name) => [name, group] as const)),
);

/** Groups that stay readable after the guest went on, as far as the stub shows them. */
const LASTING: readonly RegisterGroup[] = ["general", "segment", "control"];

const LMA = 1n << 10n;
/** In a compatibility segment QEMU's stub shows the low halves of these, and of RIP, alone. */
const HALVED: ReadonlySet<RegisterName> = new Set<RegisterName>(["cr2", "cr3"]);

/** Registers as they were when asked for, fetched when first read. */
export class Snapshot {
  readonly #source: SnapshotSource;
  readonly #generation: number;
  readonly #read = new Set<RegisterGroup>();
  #shown: RegisterMap | undefined;
  #hidden: RegisterMap | undefined;

  constructor(source: SnapshotSource) {
    this.#source = source;
    this.#generation = source.generation;
  }

  /** Fetches what has to last: what the stub shows. Called before the guest goes on. */
  materialise(): void {
    this.#shown ??= this.#source.shown();
  }

  /** Fetches all that can last: before something other than running changes the vCPU. */
  complete(): void {
    this.materialise();
    if (this.#source.generation === this.#generation) this.#hidden ??= this.#source.hidden();
  }

  #get(name: RegisterName): bigint {
    const group = GROUP_OF.get(name)!;
    const current = this.#source.generation === this.#generation;
    if (current) this.materialise();
    else if (this.#shown === undefined || (!LASTING.includes(group) && !this.#read.has(group))) stale(group);
    this.#read.add(group);
    const value = this.#shown?.get(name);
    if (value !== undefined && !this.#isDoubtful(name)) return value;
    if (current) this.#hidden ??= this.#source.hidden();
    if (this.#hidden !== undefined) return this.#hidden.get(name) ?? value ?? 0n;
    return value ?? stale(group);
  }

  #isDoubtful(name: RegisterName): boolean {
    if (!HALVED.has(name)) return false;
    const value = (other: RegisterName) => this.#shown?.get(other) ?? 0n;
    return (value("efer") & LMA) !== 0n && value("rip") >> 32n === 0n;
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
