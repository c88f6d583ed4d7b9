import { type BareAddress, type Gpa, spaceOf } from "../vm/address.ts";
import type { Backend, MaybePromise, MemoryRegion, Shadow } from "../vm/backend.ts";
import type { Bus } from "../vm/bus.ts";
import { checkAddress, checkBytes } from "../vm/check.ts";
import { FaultError, InputError, UnsupportedError } from "../vm/errors.ts";
import type { Memory, PhysicalMemory } from "../vm/machine.ts";
import { breather, then, Turns } from "../vm/promise.ts";
import { DeviceMemory } from "./device_memory.ts";
import { littleEndian } from "./hit.ts";
import type { Patches } from "./patches.ts";
import { findAll, type SearchOptions } from "./search.ts";

/** The most that one `read` allocates. */
const READ_LIMIT = 2 ** 32;
const CHUNK = 1 << 20;
const COUNT_BYTES = "count in whole bytes";

/** What physical and linear memory have in common: everything but where bytes come from. */
export abstract class ManagedMemory<Address extends bigint> implements Memory<Address> {
  readonly #space: "gpa" | "gva";
  /** What is asked for again and again, as by a script that waits for a value, is answered at once. */
  protected readonly turns: Turns = new Turns();

  constructor(space: "gpa" | "gva") {
    this.#space = space;
  }

  /** Fills `into` from `at`, breakpoints hidden. */
  protected abstract fetch(at: bigint, into: Uint8Array): MaybePromise<void>;
  /** Writes `bytes`; breakpoints stay in. */
  protected abstract store(at: bigint, bytes: Uint8Array): MaybePromise<void>;
  abstract search(pattern: Uint8Array | string, options?: SearchOptions<Address>): Promise<bigint[]>;

  async read(at: Address | BareAddress, length: number): Promise<Uint8Array> {
    const address = this.check(at);
    if (!Number.isInteger(length) || length < 0 || length > READ_LIMIT) {
      throw new InputError(`a length is a whole number from 0 to 2^32, not ${length}`, {
        remedy: COUNT_BYTES,
      });
    }
    const into = new Uint8Array(length);
    await this.#fetchAll(address, into);
    return await this.turns.before(into);
  }

  async readInto(at: Address | BareAddress, into: Uint8Array): Promise<void> {
    await this.#fetchAll(this.check(at), into);
    await this.turns.before(undefined);
  }

  async write(at: Address | BareAddress, bytes: Uint8Array | readonly number[]): Promise<void> {
    await this.store(this.check(at), checkBytes(bytes));
    await this.turns.before(undefined);
  }

  /** Long reads leave the event loop its turn: through a stub they take seconds. */
  async #fetchAll(at: bigint, into: Uint8Array): Promise<void> {
    if (into.length <= CHUNK) return await this.fetch(at, into);
    const breathe = breather();
    for (let done = 0; done < into.length; done += CHUNK) {
      await breathe();
      await this.fetch(at + BigInt(done), into.subarray(done, done + CHUNK));
    }
  }

  async readUint(at: Address | BareAddress, bytes: number): Promise<bigint> {
    return littleEndian(await this.read(at, width(bytes)));
  }

  async writeUint(at: Address | BareAddress, bytes: number, value: bigint): Promise<void> {
    if (BigInt.asUintN(width(bytes) * 8, value) !== value) {
      throw new RangeError(`0x${value.toString(16)} does not fit ${bytes} bytes`);
    }
    const data = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i++) data[i] = Number(value >> BigInt(8 * i) & 0xffn);
    await this.store(this.check(at), data);
  }

  async fill(at: Address | BareAddress, length: number, pattern: Uint8Array | number): Promise<void> {
    const address = this.check(at);
    const unit = typeof pattern === "number" ? Uint8Array.of(pattern) : pattern;
    if (unit.length === 0) {
      throw new InputError("a fill pattern has at least one byte", { remedy: "give a byte, or several" });
    }
    if (!Number.isInteger(length) || length < 0) {
      throw new InputError(`a length is a whole number, not ${length}`, { remedy: COUNT_BYTES });
    }
    const chunk = new Uint8Array(Math.min(length, Math.ceil(CHUNK / unit.length) * unit.length));
    for (let i = 0; i < chunk.length; i++) chunk[i] = unit[i % unit.length];
    // A range that goes on past the end of memory is refused before anything is written.
    if (length > chunk.length) await this.fetch(address + BigInt(length - 1), new Uint8Array(1));
    const breathe = breather();
    for (let done = 0; done < length; done += chunk.length) {
      await breathe();
      await this.store(address + BigInt(done), chunk.subarray(0, Math.min(chunk.length, length - done)));
    }
  }

  /** The plain number of an address of this space. @throws {InputError} If it is of the other. */
  protected check(at: bigint): bigint {
    const address = checkAddress(at);
    if (spaceOf(at, this.#space) !== this.#space) {
      throw new InputError(
        this.#space === "gpa"
          ? "vm.memory is guest-physical and was given a linear address"
          : "a vCPU's memory is linear and was given a guest-physical address",
        {
          remedy: this.#space === "gpa"
            ? "use vm.vcpus[0].memory, or gpa(...)"
            : "use vm.memory, or gva(...)",
        },
      );
    }
    return address;
  }
}

function width(bytes: number): number {
  if (!Number.isInteger(bytes) || bytes < 1 || bytes > 8) {
    throw new InputError(`a number has 1 to 8 bytes, not ${bytes}`, {
      remedy: "read longer ones with read()",
    });
  }
  return bytes;
}

/** Guest-physical memory as the guest has it: breakpoints don't show. */
export class HiddenMemory extends ManagedMemory<Gpa> implements PhysicalMemory {
  readonly view?: (at: Gpa | BareAddress, length: number) => Uint8Array;
  readonly #backend: Backend;
  readonly #patches: Patches;
  readonly #devices: DeviceMemory;

  /** @param mmio Devices there may have memory of their own. */
  constructor(backend: Backend, patches: Patches, mmio: Bus) {
    super("gpa");
    this.#backend = backend;
    this.#patches = patches;
    this.#devices = new DeviceMemory(backend.memory, mmio);
    const { memory } = backend;
    if (memory.view !== undefined) this.view = (at, length) => memory.view!(this.check(at), length);
  }

  get regions(): readonly MemoryRegion[] {
    return this.#backend.memory.regions;
  }

  /** Fills `into` from a guest-physical address; for walks and conditions. */
  peek(at: bigint, into: Uint8Array): MaybePromise<void> {
    let done: MaybePromise<void>;
    try {
      done = this.#backend.memory.read(at, into);
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
      done = this.#devices.read(at, into, error);
    }
    if (this.#patches.size === 0) return done;
    return then(done, () => this.#patches.hide(at, into));
  }

  /** Writes for the debugger. */
  poke(at: bigint, bytes: Uint8Array): MaybePromise<void> {
    return this.#put(at, bytes, (to, part) => this.#patches.write(to, part));
  }

  /** Writes as the guest's devices do: what the guest can't write stays. */
  deposit(at: bigint, bytes: Uint8Array): MaybePromise<void> {
    return this.#put(at, bytes, (to, part) => this.#patches.deposit(to, part));
  }

  /** A view of RAM for a device to fill; undefined where the bytes are not plain RAM, or may have patches in them. */
  window(at: bigint, length: number): Uint8Array | undefined {
    const { memory } = this.#backend;
    return this.#patches.size === 0 ? memory.window?.(at, length) : undefined;
  }

  #put(
    at: bigint,
    bytes: Uint8Array,
    store: (at: bigint, bytes: Uint8Array) => MaybePromise<void>,
  ): MaybePromise<void> {
    try {
      return store(at, bytes);
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
      return this.#devices.write(at, bytes, error, store);
    }
  }

  /** Gives pages back to the host. @throws {FaultError} If there is no memory. */
  discard(at: bigint, length: number): MaybePromise<void> {
    return this.#patches.discard(at, length);
  }

  /** Changes what the guest meets in a range. @throws {UnsupportedError} If the backend can't. */
  shadow(at: bigint, length: number, how: Shadow): MaybePromise<void> {
    if (this.#backend.memory.shadow === undefined) {
      throw new UnsupportedError("shadow", "this backend can't put ROM over a guest's RAM");
    }
    return this.#patches.shadow(at, length, how);
  }

  protected fetch(at: bigint, into: Uint8Array): MaybePromise<void> {
    return this.peek(at, into);
  }

  protected store(at: bigint, bytes: Uint8Array): MaybePromise<void> {
    return this.poke(at, bytes);
  }

  search(pattern: Uint8Array | string, options: SearchOptions<Gpa> = {}): Promise<bigint[]> {
    const from = options.from === undefined ? 0n : this.check(options.from);
    const to = options.to === undefined ? undefined : this.check(options.to);
    const { memory } = this.#backend;
    const ranges = memory.regions.map(({ start, size }) => ({ start, size }));
    // With breakpoints in, the hypervisor's own search would find the patches.
    const native = this.#patches.size === 0 ? memory.search?.bind(memory) : undefined;
    return findAll(
      pattern,
      ranges,
      { from, to, limit: options.limit },
      (at, into) => this.peek(at, into),
      native,
    );
  }
}
