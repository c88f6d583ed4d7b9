import { type Gpa, type Gva, spaceOf } from "../vm/address.ts";
import type { Backend, BackendVcpu, MaybePromise } from "../vm/backend.ts";
import type {
  AccessBreakOptions,
  AccessSpace,
  Breakpoint,
  BreakpointOptions,
  Breakpoints,
} from "../vm/breakpoint.ts";
import { can, need } from "../vm/capabilities.ts";
import { checkAddress, checkChoice, checkOptions } from "../vm/check.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import { DESCRIPTOR_REGISTERS, XCR0 } from "../vm/exit.ts";
import type { ReadPhysical } from "../x86/paging.ts";
import { ManagedBreakpoint, type Means, type Place } from "./breakpoint.ts";
import { type Choice, choose } from "./choose.ts";
import type { GuardedPages } from "./guarded_pages.ts";
import {
  CountedMeans,
  HardwareMeans,
  PageMeans,
  PatchMeans,
  RemoteMeans,
  type TrapSettings,
} from "./means.ts";
import type { Patches } from "./patches.ts";
import type { Slots } from "./slots.ts";

/** What a set of breakpoints is made over. */
export interface BreakpointParts {
  readonly backend: Backend;
  readonly patches: Patches;
  readonly slots: Slots;
  readonly pages: GuardedPages;
  readonly settings: TrapSettings;
  /** Guest-physical memory, breakpoints hidden. */
  readonly read: ReadPhysical;
  /** The vCPU whose paging a linear address is meant through. */
  readonly current: () => BackendVcpu;
  /** Throws a StateError if the machine is closed. */
  readonly open: () => void;
}

/** Ports or guest-physical addresses whose accesses are to be seen from now on: [start, end). Throws where they can't be. */
export type WatchListener = (space: "port" | "mmio", start: bigint, end: bigint) => void;

/** A machine's breakpoints: makes them, keeps them, and takes them out. */
export class BreakpointSet implements Breakpoints {
  /** Every breakpoint, those of `runUntil` and its like included (ids below 0). */
  readonly all = new Map<number, ManagedBreakpoint>();
  /** Breaks on ports, MMIO and MSRs; a subset of `all`. */
  readonly accesses = new Set<ManagedBreakpoint>();
  /** Watchpoints that work by stepping. */
  readonly stepped = new Set<ManagedBreakpoint>();
  /** Told of each new break on a port or an access by MMIO, before it is there. */
  onWatch: WatchListener = () => {};
  readonly #parts: BreakpointParts;
  /** Breaks on accesses that are enabled. */
  readonly #asked = new Set<ManagedBreakpoint>();
  #next = 1;
  #nextInternal = -1;

  constructor(parts: BreakpointParts) {
    this.#parts = parts;
  }

  *[Symbol.iterator](): Iterator<Breakpoint> {
    for (const breakpoint of this.all.values()) if (breakpoint.id > 0) yield breakpoint;
  }

  get(id: number): Breakpoint | undefined {
    return id > 0 ? this.all.get(id) : undefined;
  }

  add(address: Gva | Gpa | bigint, options: BreakpointOptions = {}): Promise<ManagedBreakpoint> {
    return this.#make(address, options, false);
  }

  /** A breakpoint of the debugger's own: it has no number and is not listed. */
  addInternal(address: bigint, options: BreakpointOptions = {}): Promise<ManagedBreakpoint> {
    return this.#make(address, options, true);
  }

  async onAccess(options: AccessBreakOptions): Promise<ManagedBreakpoint> {
    this.#parts.open();
    checkOptions("breakpoints.onAccess()", options, ACCESS_OPTIONS);
    const { space } = options;
    checkChoice("space", space ?? "(left out)", Object.keys(LIMITS));
    checkChoice("direction", options.direction, ["read", "write"]);
    const start = whole("start", options.start);
    const size = whole("length", options.length ?? 1);
    const limit = LIMITS[space];
    if (start < 0n || size < 1n || start + size > limit) {
      throw new InputError(
        `${space} 0x${start.toString(16)}+${size} does not fit 0..0x${limit.toString(16)}`,
        { remedy: "give a start inside and a length of at least 1" },
      );
    }
    const ask = this.#asking(space, options.direction);
    const access = options.direction === "write" ? "write" : "access";
    const place: Place = { address: start, space, access, size };
    const means = new CountedMeans("exit", async (by) => {
      if (by > 0) this.#asked.add(breakpoint);
      else this.#asked.delete(breakpoint);
      try {
        await ask();
      } catch (error) {
        if (by > 0) this.#asked.delete(breakpoint);
        throw error;
      }
    });
    const breakpoint: ManagedBreakpoint = new ManagedBreakpoint(
      this.#next++,
      place,
      means,
      options,
      (gone) => {
        this.all.delete(gone.id);
        this.accesses.delete(gone);
      },
    );
    if (space === "port" || space === "mmio") this.onWatch(space, start, start + size);
    this.accesses.add(breakpoint);
    try {
      await breakpoint.enable(true);
    } catch (error) {
      this.accesses.delete(breakpoint);
      throw error;
    }
    this.all.set(breakpoint.id, breakpoint);
    return breakpoint;
  }

  /** Whether there is a break on an access by MMIO in [start, end). */
  watches(start: bigint, end: bigint): boolean {
    return [...this.accesses].some(({ space, address, size }) =>
      space === "mmio" && address < end && start < address + size
    );
  }

  async clear(): Promise<void> {
    for (const breakpoint of [...this.all.values()]) await breakpoint.remove();
  }

  async #make(address: bigint, options: BreakpointOptions, internal: boolean): Promise<ManagedBreakpoint> {
    const { backend, slots, read, current, open } = this.#parts;
    open();
    checkAddress(address);
    check(options, backend.vcpus.length);
    const access = options.access ?? "execute";
    const size = BigInt(access === "execute" ? 1 : options.size ?? 1);
    const place: Place = { address, space: spaceOf(address, "gva"), access, size };
    const registers = await current().registers();
    const choice = await choose(place, options.kind ?? "auto", { backend, slots, registers, read });
    // Taken before anything is awaited: breakpoints may be added at the same time.
    const id = internal ? this.#nextInternal-- : this.#next++;
    const breakpoint: ManagedBreakpoint = new ManagedBreakpoint(
      id,
      "gpa" in choice ? { ...place, gpa: choice.gpa } : place,
      this.#means(choice, place, () => breakpoint),
      options,
      (gone) => this.all.delete(gone.id),
    );
    try {
      await breakpoint.enable(true);
    } catch (error) {
      // A number that nobody has seen is used again.
      if (this.#next === id + 1) this.#next = id;
      throw error;
    }
    this.all.set(id, breakpoint);
    return breakpoint;
  }

  #means(choice: Choice, place: Place, self: () => ManagedBreakpoint): Means {
    const { slots, settings, patches, pages } = this.#parts;
    switch (choice.how) {
      case "hardware":
        return new HardwareMeans(slots, settings, choice.trap);
      case "remote":
        // `choose` gives it only where there are such.
        return new RemoteMeans(this.#parts.backend.breakpoints!, choice.address);
      case "page":
        return new PageMeans(pages, choice.gpa, Number(place.size));
      case "step":
        return new CountedMeans("step", (by) => {
          if (by > 0) this.stepped.add(self());
          else this.stepped.delete(self());
        });
      default:
        return new PatchMeans(patches, settings, choice.gpa, choice.how);
    }
  }

  /**
   * What is to be done so that accesses of a space come here, whenever those that are broken on have changed.
   *
   * @throws {UnsupportedError} If nothing helps.
   */
  #asking(space: AccessSpace, direction: AccessBreakOptions["direction"]): () => MaybePromise<void> {
    const { capabilities } = this.#parts.backend;
    if (space === "port" || space === "mmio") {
      need(capabilities, "devices");
      return () => undefined;
    }
    if (space !== "msr") need(capabilities, `report-${space}`);
    else if (can(capabilities, "msr-exits")) return () => this.#trapMsrs();
    else if (!can(capabilities, "report-msr")) need(capabilities, "msr-exits");
    else if (direction !== "write") {
      throw new UnsupportedError("reads of MSRs", "this hypervisor reports writes alone", {
        remedy: "break on writes alone",
      });
    }
    return () => this.#report();
  }

  /** Hands the union of all MSRs that are broken on to every vCPU. */
  async #trapMsrs(): Promise<void> {
    const indices = [...this.#asked].filter((b) => b.space === "msr").flatMap(msrsOf);
    for (const vcpu of this.#parts.backend.vcpus) await vcpu.trapMsrs(indices);
  }

  /** Has reported what is broken on, where no vCPU has to be told. */
  #report(): MaybePromise<void> {
    const ranges = [...this.#asked].flatMap((b) => {
      const { space, at, size } = b;
      if (space === "port" || space === "mmio" || space === "gva" || space === "gpa") return [];
      if (space === "msr") msrsOf(b);
      return [{ space, start: at, length: size }];
    });
    return this.#parts.backend.reports?.set(ranges);
  }
}

/** @throws {InputError} If they are too many. */
function msrsOf({ at, size }: ManagedBreakpoint): number[] {
  if (size > MOST_MSRS) throw new InputError(`at most ${MOST_MSRS} MSRs can be broken on at once`);
  return Array.from({ length: Number(size) }, (_, i) => Number(at) + i);
}

const MOST_MSRS = 4096n;
/** Where the addresses of each space end. */
const LIMITS: Readonly<Record<AccessSpace, bigint>> = {
  port: 1n << 16n,
  mmio: 1n << 52n,
  msr: 1n << 32n,
  cr: BigInt(XCR0 + 1),
  cpuid: 1n << 32n,
  descriptor: BigInt(DESCRIPTOR_REGISTERS.length),
  request: 1n,
};
const OPTIONS = ["kind", "access", "size", "once", "ignore", "vcpu", "cr3", "condition"];
const ACCESS_OPTIONS = ["space", "start", "length", "direction", "once", "ignore", "condition"];

/** @throws {InputError} If it is no whole number. */
function whole(option: string, value: number | bigint): bigint {
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return BigInt(value);
  throw new InputError(`${option} is a whole number, not ${String(value)}`, {
    remedy: "give a number or a bigint",
  });
}

function check(options: BreakpointOptions, vcpus: number): void {
  checkOptions("breakpoints.add()", options, OPTIONS);
  checkChoice("kind", options.kind, ["auto", "software", "hardware"]);
  checkChoice("access", options.access, ["execute", "write", "access"]);
  if (options.size !== undefined) checkChoice("size", String(options.size), ["1", "2", "4", "8"]);
  if (options.condition !== undefined && typeof options.condition !== "function") {
    throw new InputError(`a condition is a function, not ${typeof options.condition}`, {
      remedy: "example: (hit) => hit.registers.rax === 5n",
    });
  }
  const { vcpu, ignore } = options;
  if (vcpu !== undefined && !(Number.isInteger(vcpu) && vcpu >= 0 && vcpu < vcpus)) {
    throw new InputError(`there is no vCPU ${vcpu}: this machine has 0 to ${vcpus - 1}`, {
      remedy: "take one of vm.vcpus, or leave it out for all of them",
    });
  }
  if (ignore !== undefined && !(Number.isInteger(ignore) && ignore >= 0)) {
    throw new InputError(`an ignore count is a whole number, not ${ignore}`, {
      remedy: "give how many hits are to be passed over, 0 for none",
    });
  }
}
