import type { BareAddress, Gva } from "../vm/address.ts";
import type { MaybePromise } from "../vm/backend.ts";
import type { LinearMemory, Translation } from "../vm/machine.ts";
import { then } from "../vm/promise.ts";
import type { Registers } from "../vm/registers.ts";
import { pagingMode } from "../x86/mode.ts";
import { mappings, walk } from "../x86/paging.ts";
import { pieces } from "./linear.ts";
import { type HiddenMemory, ManagedMemory } from "./memory.ts";
import { findAll, type SearchOptions } from "./search.ts";

/** Memory through one vCPU's paging, breakpoints hidden. */
export class PagedMemory extends ManagedMemory<Gva> implements LinearMemory {
  readonly #registers: () => MaybePromise<Registers>;
  readonly #physical: HiddenMemory;

  /** @param registers Gives the vCPU's registers now. */
  constructor(registers: () => MaybePromise<Registers>, physical: HiddenMemory) {
    super("gva");
    this.#registers = registers;
    this.#physical = physical;
  }

  async translate(at: Gva | BareAddress): Promise<Translation> {
    return await this.turns.before(await this.#translated(at));
  }

  async #translated(at: Gva | BareAddress): Promise<Translation> {
    const registers = await this.#registers();
    const found = await walk(registers, this.check(at), (gpa, into) => this.#physical.peek(gpa, into));
    const paging = pagingMode(registers);
    if (!found.ok) {
      const failure = { level: found.level ?? "address", reason: found.message };
      return { paging, steps: found.steps, failure };
    }
    const { steps, gpa, writable, user } = found;
    return {
      paging,
      steps,
      gpa,
      pageSize: BigInt(found.pageSize),
      writable,
      user,
      executable: !found.noExecute,
    };
  }

  protected fetch(at: bigint, into: Uint8Array): MaybePromise<void> {
    return then(this.#registers(), (registers) => readLinear(registers, this.#physical, at, into));
  }

  protected store(at: bigint, bytes: Uint8Array): MaybePromise<void> {
    const read = (gpa: bigint, page: Uint8Array) => this.#physical.peek(gpa, page);
    return then(
      this.#registers(),
      (registers) =>
        pieces(
          registers,
          at,
          bytes.length,
          read,
          (gpa, from, to) => this.#physical.poke(gpa, bytes.subarray(from, to)),
        ),
    );
  }

  /** Searches what is mapped in [from, to). With paging on, `from` and `to` keep it short. */
  async search(pattern: Uint8Array | string, options: SearchOptions<Gva> = {}): Promise<bigint[]> {
    const registers = await this.#registers();
    const from = options.from === undefined ? 0n : this.check(options.from);
    const to = options.to === undefined ? undefined : this.check(options.to);
    if (pagingMode(registers) === "none") {
      return await this.#physical.search(pattern, {
        limit: options.limit,
        from,
        ...(to !== undefined && { to }),
      });
    }
    const peek = (gpa: bigint, into: Uint8Array) => this.#physical.peek(gpa, into);
    const ranges = mappings(registers, peek, { from, ...(to !== undefined && { to }), merge: "contiguous" });
    const read = (at: bigint, into: Uint8Array) => readLinear(registers, this.#physical, at, into);
    return await findAll(pattern, ranges, { from, to, limit: options.limit }, read);
  }
}

/** Fills `into` from a linear address. @throws {FaultError} */
export function readLinear(
  registers: Registers,
  memory: HiddenMemory,
  at: bigint,
  into: Uint8Array,
): MaybePromise<void> {
  const read = (gpa: bigint, page: Uint8Array) => memory.peek(gpa, page);
  return pieces(
    registers,
    at,
    into.length,
    read,
    (gpa, from, to) => memory.peek(gpa, into.subarray(from, to)),
  );
}
