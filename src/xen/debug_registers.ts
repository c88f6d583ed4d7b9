import type { HardwareTrap } from "../vm/backend.ts";
import type { RegisterName } from "../vm/registers.ts";
import type { GuestContext } from "./guest_context.ts";

/** Changes a vCPU's context. */
type Change = (vcpu: number, body: (context: GuestContext) => void) => void;

const NAMES = ["dr0", "dr1", "dr2", "dr3", "dr6", "dr7"] as const satisfies readonly RegisterName[];
/** What DR7's length field says for each size (SDM vol. 3B, 17.2.4). */
const LENGTHS: Readonly<Record<HardwareTrap["size"], bigint>> = { 1: 0n, 2: 1n, 4: 3n, 8: 2n };
const KINDS: Readonly<Record<HardwareTrap["access"], bigint>> = { execute: 0n, write: 1n, access: 3n };
/** DR6 with nothing in it, and DR7 with nothing armed: their fixed bits (SDM vol. 3B, 17.2). */
const DR6_INITIAL = 0xffff_0ff0n;
const DR7_INITIAL = 0x400n;

/** DR7 that arms `traps`, slot by slot, with local enable bits, as Linux and gdb set them. */
export function dr7Of(traps: readonly (HardwareTrap | undefined)[]): bigint {
  return traps.reduce((dr7, trap, slot) => {
    if (trap === undefined) return dr7;
    const length = trap.access === "execute" ? 0n : LENGTHS[trap.size];
    return dr7 | 1n << BigInt(2 * slot) | (KINDS[trap.access] | length << 2n) << BigInt(16 + 4 * slot);
  }, DR7_INITIAL);
}

/** The debug registers of every vCPU: the debugger's while it has traps in them, the guest's own before and after. */
export class DebugRegisters {
  readonly #vcpus: number;
  readonly #change: Change;
  /** What each vCPU had that has the traps now. */
  readonly #own = new Map<number, ReadonlyMap<RegisterName, bigint>>();
  readonly #told: (own: ReadonlyMap<number, ReadonlyMap<RegisterName, bigint>>) => void;
  #traps: readonly (HardwareTrap | undefined)[] = [];

  /** @param told Hears what is the guest's own: before it is replaced, and once it is back. */
  constructor(
    vcpus: number,
    change: Change,
    told: (own: ReadonlyMap<number, ReadonlyMap<RegisterName, bigint>>) => void = () => {},
  ) {
    this.#vcpus = vcpus;
    this.#change = change;
    this.#told = told;
  }

  /** Takes over from a debugger that is no more: what the guest has is that debugger's. */
  takeOver(own: ReadonlyMap<number, ReadonlyMap<RegisterName, bigint>>): void {
    for (const [vcpu, values] of own) this.#own.set(vcpu, values);
  }

  /** Whether traps of the debugger's are in them. */
  get armed(): boolean {
    return this.#own.size > 0;
  }

  /**
   * Withholds execute traps from a vCPU that is stepped, or arms them again: one at RIP would fire before the instruction,
   * for ever.
   */
  withhold(vcpu: number, on: boolean): void {
    if (!this.#traps.some((trap) => trap?.access === "execute")) return;
    const armed = on ? this.#traps.map((trap) => trap?.access === "execute" ? undefined : trap) : this.#traps;
    this.#change(vcpu, (context) => context.set("dr7", dr7Of(armed)));
  }

  /**
   * What DR6 says of a #DB while traps are armed, else 0; what the vCPU has is cleared. Processor and Xen only ever add to
   * it: the BS of a step that is over would make the next trap look like another step.
   */
  takeCause(vcpu: number): bigint {
    if (!this.armed) return 0n;
    let cause = 0n;
    this.#change(vcpu, (context) => {
      cause = context.get("dr6");
      context.set("dr6", DR6_INITIAL);
    });
    return cause;
  }

  /** Arms traps, or puts back what the guest had when there are none. */
  set(traps: readonly (HardwareTrap | undefined)[]): void {
    if (traps.every((trap) => trap === undefined)) {
      this.restore();
      return;
    }
    this.#traps = [...traps];
    for (let vcpu = 0; vcpu < this.#vcpus; vcpu++) this.#arm(vcpu);
  }

  /** Arms those that had not been started when the traps were set. */
  refresh(): void {
    if (!this.armed) return;
    for (let vcpu = 0; vcpu < this.#vcpus; vcpu++) if (!this.#own.has(vcpu)) this.#arm(vcpu);
  }

  /** Nothing happens where the vCPU has no context yet. */
  #arm(vcpu: number): void {
    this.#change(vcpu, (context) => {
      if (!this.#own.has(vcpu)) {
        this.#own.set(vcpu, new Map(NAMES.map((name) => [name, context.get(name)])));
        this.#told(this.#own);
      }
      for (let slot = 0; slot < 4; slot++) {
        context.set(NAMES[slot], BigInt.asUintN(64, this.#traps[slot]?.address ?? 0n));
      }
      context.set("dr6", DR6_INITIAL);
      context.set("dr7", dr7Of(this.#traps));
    });
  }

  /** Gives the guest its own back. */
  restore(): void {
    this.#traps = [];
    if (!this.armed) return;
    for (const [vcpu, own] of this.#own) {
      this.#change(vcpu, (context) => own.forEach((value, name) => context.set(name, value)));
    }
    this.#own.clear();
    this.#told(this.#own);
  }
}
