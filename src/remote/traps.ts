import type { HardwareTrap, Traps } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { GoneError } from "./gone.ts";
import type { Session } from "./session.ts";
import type { StopReply } from "./stop_reply.ts";

/** Types of `Z` packets (GDB manual, E.2). */
const TYPES = { execute: 1, write: 2, access: 4 } as const;
const SOFTWARE = 0;

/** Breakpoints and watchpoints as the stub keeps them: the debug registers' slots, and any number of others. */
export class RemoteTraps {
  readonly #session: Session;
  #slots: readonly (HardwareTrap | undefined)[] = [];
  /** Linear addresses of breakpoints that have no slot, and how many asked for each. */
  readonly #others = new Map<bigint, number>();

  constructor(session: Session) {
    this.#session = session;
  }

  /** Whether there are watchpoints. */
  get watching(): boolean {
    return this.#slots.some((trap) => trap !== undefined && trap.access !== "execute");
  }

  /** Puts these slots in place of those of before. @throws {UnsupportedError} If the stub refuses one. */
  set({ hardware }: Traps): void {
    const old = this.#slots;
    const count = Math.max(old.length, hardware.length);
    for (let i = 0; i < count; i++) {
      if (same(old[i], hardware[i])) continue;
      const before = old[i];
      // A slot that holds the same trap under another number keeps it in the stub.
      if (before !== undefined && !hardware.some((trap) => same(trap, before))) this.#packet("z", before);
    }
    for (const trap of hardware) {
      if (trap !== undefined && !old.some((before) => same(before, trap))) this.#packet("Z", trap);
    }
    this.#slots = [...hardware];
  }

  /** A breakpoint at a linear address without a slot. @throws {UnsupportedError} */
  insert(address: bigint): void {
    const count = this.#others.get(address) ?? 0;
    if (count === 0) this.#send(otherPacket("Z", address), "a breakpoint");
    this.#others.set(address, count + 1);
  }

  /** Takes one out again. */
  remove(address: bigint): void {
    const count = (this.#others.get(address) ?? 0) - 1;
    if (count > 0) this.#others.set(address, count);
    else if (this.#others.delete(address)) {
      try {
        this.#send(otherPacket("z", address), "a breakpoint");
      } catch (error) {
        // A stub that is gone keeps no breakpoints; the next run tells of it.
        if (!(error instanceof GoneError)) throw error;
      }
    }
  }

  /** Takes everything out, for the last time. */
  clear(): void {
    this.set({ hardware: [], int3: false });
    for (const address of [...this.#others.keys()]) {
      this.#others.set(address, 1);
      this.remove(address);
    }
  }

  /** The packets that take everything out. */
  get removals(): string[] {
    const slots = this.#slots.filter((trap) => trap !== undefined).map((trap) => slotPacket("z", trap));
    return [...slots, ...[...this.#others.keys()].map((address) => otherPacket("z", address))];
  }

  /** Takes everything, or all but watchpoints, out of the stub for a while; what is returned puts it back. */
  suspend(watchpoints = true): () => void {
    const slots = this.#slots;
    const others = [...this.#others.keys()];
    const each = (verb: "z" | "Z") => {
      for (const address of others) this.#send(otherPacket(verb, address), "a breakpoint");
    };
    const left = watchpoints ? [] : slots.map((trap) => trap?.access === "execute" ? undefined : trap);
    this.set({ hardware: left, int3: false });
    each("z");
    return () => {
      this.set({ hardware: slots, int3: false });
      each("Z");
    };
  }

  /**
   * What a SIGTRAP stop was for: slots as DR6 names them, and whether one of the others is at `pc`.
   *
   * @param pc Linear address of the instruction that would be next.
   */
  explain(reply: StopReply & { kind: "signal" }, pc: bigint): { hits: number; other: boolean } {
    let hits = 0;
    const { watch } = reply;
    this.#slots.forEach((trap, slot) => {
      if (trap === undefined) return;
      const end = trap.address + BigInt(trap.size);
      const hit = trap.access === "execute"
        ? watch === undefined && trap.address === pc
        : watch !== undefined && watch.address >= trap.address && watch.address < end;
      if (hit) hits |= 1 << slot;
    });
    return { hits, other: watch === undefined && this.#others.has(pc) };
  }

  #packet(verb: "Z" | "z", trap: HardwareTrap): void {
    this.#send(slotPacket(verb, trap), `a breakpoint on ${trap.access}`);
  }

  #send(packet: string, what: string): void {
    this.#session.halt();
    const answer = this.#session.connection.request(packet);
    if (answer === "OK") return;
    throw new UnsupportedError(
      what,
      answer === "" ? "the stub has none" : `the stub refuses it (${answer})`,
      {
        remedy: "remove another one, or see `info capabilities`",
      },
    );
  }
}

function slotPacket(verb: "Z" | "z", { access, address, size }: HardwareTrap): string {
  return `${verb}${TYPES[access]},${address.toString(16)},${size}`;
}

function otherPacket(verb: "Z" | "z", address: bigint): string {
  return `${verb}${SOFTWARE},${address.toString(16)},1`;
}

function same(a: HardwareTrap | undefined, b: HardwareTrap | undefined): boolean {
  return a === b ||
    (a !== undefined && b !== undefined && a.address === b.address && a.access === b.access &&
      a.size === b.size);
}
