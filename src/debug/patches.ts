import type { BackendMemory, MaybePromise, Shadow } from "../vm/backend.ts";
import { StateError, UnsupportedError } from "../vm/errors.ts";
import { then } from "../vm/promise.ts";
import { TRAP_PORT } from "../vm/trap_port.ts";

/** Which bytes stand in the guest's code for a breakpoint. */
export type PatchKind = "int3" | "hlt" | "out";

/** HLT (SDM vol. 2A): an interrupt that wakes the guest returns behind it. */
export const HLT = 0xf4;

/** The bytes of each patch (SDM vol. 2: INT3, HLT, OUT imm8, AL). */
export const PATCH_CODE: Readonly<Record<PatchKind, Uint8Array>> = {
  int3: Uint8Array.of(0xcc),
  hlt: Uint8Array.of(HLT),
  out: Uint8Array.of(0xe6, TRAP_PORT),
};

/** One place in guest-physical memory where a breakpoint's bytes stand instead of the guest's. */
export interface Patch {
  readonly kind: PatchKind;
  readonly gpa: bigint;
  readonly code: Uint8Array;
  /** What the guest believes stands there. */
  readonly original: Uint8Array;
  /** How many breakpoints need it. */
  users: number;
  /** Whether the code, and not the original, stands in memory now. */
  inserted: boolean;
  /** The bytes in guest memory, where the backend gives a view: makes stepping off cheap. Goes with the memory. */
  live?: Uint8Array;
}

/** Every patch in a guest's memory, and what memory would be without them. */
export class Patches implements Iterable<Patch> {
  readonly #memory: BackendMemory;
  readonly #hold: () => void;
  readonly #byGpa = new Map<bigint, Patch>();
  /** Patches of places where the chipset left no memory. */
  readonly #homeless = new Set<Patch>();
  /** How many patches there are of each kind: asked for at every exit. */
  readonly #count: Record<PatchKind, number> = { int3: 0, hlt: 0, out: 0 };

  /** @param hold Brings back vCPUs that run beside: code under them is not changed by halves. */
  constructor(memory: BackendMemory, hold: () => void = () => {}) {
    this.#memory = memory;
    this.#hold = hold;
  }

  get size(): number {
    return this.#byGpa.size;
  }

  /** Whether there is a patch of that kind. */
  uses(kind: PatchKind): boolean {
    return this.#count[kind] > 0;
  }

  /** Whether a patch has more than one byte, so that RIP can stand among them. */
  get wide(): boolean {
    return this.#count.out > 0;
  }

  /** The port whose OUT may be a patch; -1 if there is none. */
  get trapPort(): number {
    return this.#count.out > 0 ? TRAP_PORT : -1;
  }

  [Symbol.iterator](): IterableIterator<Patch> {
    return this.#byGpa.values();
  }

  /** The patch that begins at `gpa`. */
  at(gpa: bigint): Patch | undefined {
    return this.#byGpa.get(gpa);
  }

  /** The patch that covers any of `length` bytes at `gpa`. */
  overlapping(gpa: bigint, length: number): Patch | undefined {
    for (const patch of this.#byGpa.values()) {
      if (patch.gpa < gpa + BigInt(length) && gpa < patch.gpa + BigInt(patch.code.length)) return patch;
    }
    return undefined;
  }

  /**
   * Puts a patch at `gpa`, or counts one more user of the one that is there.
   *
   * @throws {FaultError} If there is no memory.
   * @throws {StateError} If its bytes would overlap another breakpoint's.
   * @throws {UnsupportedError} If it has two bytes and would stand for HLT: the guest sleeps behind that byte, and
   * interrupts return there, into the middle of the patch.
   */
  insert(gpa: bigint, kind: PatchKind): MaybePromise<Patch> {
    const present = this.#byGpa.get(gpa);
    if (present !== undefined) {
      present.users++;
      return present;
    }
    const code = PATCH_CODE[kind];
    if (this.overlapping(gpa, code.length) !== undefined) {
      throw new StateError(
        `the ${code.length}-byte ${kind.toUpperCase()} patch at 0x${
          gpa.toString(16)
        } would overlap another breakpoint's`,
        "overlap",
        { remedy: "use a hardware breakpoint for one of the two" },
      );
    }
    const original = new Uint8Array(code.length);
    return then(this.#memory.read(gpa, original), () => {
      if (code.length > 1 && original[0] === HLT) {
        throw new UnsupportedError(
          "breakpoint-out",
          "interrupts return behind HLT, which is in the middle of the OUT that would stand there",
          { remedy: "use a hardware breakpoint, or break on another instruction" },
        );
      }
      const live = this.#memory.view?.(gpa, code.length);
      const patch: Patch = { kind, gpa, code, original, users: 1, inserted: false, ...(live && { live }) };
      this.#byGpa.set(gpa, patch);
      this.#count[kind]++;
      return then(this.put(patch), () => patch);
    });
  }

  /** One user less; the last one takes the guest's bytes back in. */
  release(patch: Patch): MaybePromise<void> {
    if (--patch.users > 0) return;
    this.#homeless.delete(patch);
    if (this.#byGpa.delete(patch.gpa)) this.#count[patch.kind]--;
    return then(this.lift(patch), () => this.#gone(patch));
  }

  /** Puts the guest's bytes back for a moment. What the guest wrote over the patch meanwhile is kept. */
  lift(patch: Patch): MaybePromise<void> {
    if (!patch.inserted) return;
    this.#hold();
    patch.inserted = false;
    return then(this.#adopt(patch), () => this.#store(patch, patch.original));
  }

  /** Puts the patch in again. */
  put(patch: Patch): MaybePromise<void> {
    if (patch.inserted) return;
    this.#hold();
    patch.inserted = true;
    if (patch.live !== undefined) {
      patch.original.set(patch.live);
      patch.live.set(patch.code);
      return;
    }
    return then(this.#memory.read(patch.gpa, patch.original), () => this.#putCode(patch));
  }

  /**
   * Looks whether the guest wrote over a patch: its bytes are then the new original, and the patch goes back
   * in, so that neither the guest's write nor the breakpoint is lost.
   */
  refresh(): MaybePromise<void> {
    this.refreshLive();
    const others = [...this.#byGpa.values()].filter((patch) => patch.inserted && patch.live === undefined);
    return this.#each(others, (patch) => {
      this.#hold();
      return then(this.#adopt(patch), (changed) => changed ? this.#putCode(patch) : undefined);
    });
  }

  /** The same for those whose memory is looked at without being asked for: for where a guest is to go on at once. */
  refreshLive(): void {
    for (const patch of this.#byGpa.values()) {
      if (!patch.inserted || patch.live === undefined || same(patch.live, patch.code)) continue;
      this.#hold();
      void this.#adopt(patch);
      void this.#putCode(patch);
    }
  }

  /** Shows `bytes`, which were read at `gpa`, as the guest left them. */
  hide(gpa: bigint, bytes: Uint8Array): void {
    for (const patch of this.#byGpa.values()) {
      if (!patch.inserted) continue;
      for (let i = 0; i < patch.code.length; i++) {
        const at = patch.gpa + BigInt(i) - gpa;
        // A byte that is no longer the patch's is the guest's own newer one.
        if (at >= 0n && at < BigInt(bytes.length) && bytes[Number(at)] === patch.code[i]) {
          bytes[Number(at)] = patch.original[i];
        }
      }
    }
  }

  /** Writes `bytes` for the debugger's user: patches stay in, and remember what was written under them. */
  write(gpa: bigint, bytes: Uint8Array): MaybePromise<void> {
    return this.#without(gpa, bytes.length, () => this.#memory.write(gpa, bytes));
  }

  /** Writes `bytes` as the guest or one of its devices does: the same, but for memory that it can't write. */
  deposit(gpa: bigint, bytes: Uint8Array): MaybePromise<void> {
    const memory = this.#memory;
    const store = () => memory.deposit === undefined ? memory.write(gpa, bytes) : memory.deposit(gpa, bytes);
    return this.#byGpa.size === 0 ? store() : this.#without(gpa, bytes.length, store);
  }

  /** Gives memory back; a breakpoint's patch in it takes a page again, with zeros under it. */
  discard(gpa: bigint, length: number): MaybePromise<void> {
    return this.#without(gpa, length, () => this.#memory.discard?.(gpa, length));
  }

  /**
   * Changes what the guest meets in a range: patches there go over to the memory that is there then. Where none is
   * they wait until there is some again.
   */
  shadow(gpa: bigint, length: number, how: Shadow): MaybePromise<void> {
    const touched = this.#in(gpa, length).filter((p) => p.inserted || this.#homeless.has(p));
    const lifted = this.#each(touched, (p) => this.lift(p));
    return then(
      lifted,
      () =>
        then(
          this.#memory.shadow?.(gpa, length, how),
          () => this.#each(touched, (patch) => this.#rehouse(patch)),
        ),
    );
  }

  #rehouse(patch: Patch): MaybePromise<void> {
    const there = this.#memory.regions.some((r) =>
      r.start <= patch.gpa && patch.gpa + BigInt(patch.code.length) <= r.start + r.size
    );
    if (!there) {
      this.#homeless.add(patch);
      return;
    }
    this.#homeless.delete(patch);
    const live = this.#memory.view?.(patch.gpa, patch.code.length);
    if (live !== undefined) patch.live = live;
    return this.put(patch);
  }

  /** Does `change` to a range while no patch stands in it. */
  #without(gpa: bigint, length: number, change: () => MaybePromise<void>): MaybePromise<void> {
    const touched = this.#in(gpa, length).filter((p) => p.inserted);
    if (touched.length === 0) return change();
    return then(
      this.#each(touched, (p) => this.lift(p)),
      () => then(change(), () => this.#each(touched, (p) => this.put(p))),
    );
  }

  #in(gpa: bigint, length: number): Patch[] {
    return [...this.#byGpa.values()].filter((p) =>
      p.gpa < gpa + BigInt(length) && gpa < p.gpa + BigInt(p.code.length)
    );
  }

  #each(patches: readonly Patch[], what: (patch: Patch) => MaybePromise<void>): MaybePromise<void> {
    return patches.reduce<MaybePromise<void>>((done, p) => then(done, () => what(p)), undefined);
  }

  /** Takes every patch out, whoever uses it: the last act before a machine is let go. */
  clear(): MaybePromise<void> {
    const all = [...this.#byGpa.values()];
    this.#byGpa.clear();
    Object.assign(this.#count, { int3: 0, hlt: 0, out: 0 });
    return all.reduce<MaybePromise<void>>(
      (done, p) => then(done, () => then(this.lift(p), () => this.#gone(p))),
      undefined,
    );
  }

  /** Takes over bytes that are not the patch's any more: the guest wrote them. */
  #adopt(patch: Patch): MaybePromise<boolean> {
    const now = patch.live ?? new Uint8Array(patch.code.length);
    const read = patch.live === undefined ? this.#memory.read(patch.gpa, now) : undefined;
    return then(read, () => {
      let changed = false;
      for (let i = 0; i < now.length; i++) {
        if (now[i] === patch.code[i]) continue;
        patch.original[i] = now[i];
        changed = true;
      }
      return changed;
    });
  }

  #putCode(patch: Patch): MaybePromise<void> {
    this.#memory.patched?.(patch.gpa, patch.code, patch.original);
    return this.#store(patch, patch.code);
  }

  #gone(patch: Patch): void {
    this.#memory.patched?.(patch.gpa, patch.code, undefined);
  }

  #store(patch: Patch, bytes: Uint8Array): MaybePromise<void> {
    if (patch.live === undefined) return this.#memory.write(patch.gpa, bytes);
    patch.live.set(bytes);
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a[0] === b[0] && (a.length === 1 || a[1] === b[1]);
}
