import { MACHINE } from "../vm/address.ts";
import type { BackendMemory, MemoryRegion } from "../vm/backend.ts";
import { FaultError } from "../vm/errors.ts";
import type { ForeignMapping } from "../host/xen/foreign_memory.ts";
import type { FrameCache } from "./frames.ts";
import type { Marks } from "./marks.ts";

const PAGE = 4096;

/** How a domain's guest-physical frames are found. */
export interface FrameMap {
  /** The frame to map for a guest-physical one; undefined if there is none. */
  frame(guest: number): number | undefined;
  /** RAM, sorted. Found out when it is first asked for. */
  regions(): readonly MemoryRegion[];
}

/** Whether there still is what the memory belongs to: the domain's runner. */
export interface Lifetime {
  /** Does what needs it. @throws {StateError} If the machine is closed, or what failed did because the domain is gone. */
  there<T>(body: () => T): T;
}

/** A domain's memory: pages are mapped when they are touched. */
export class XenMemory implements BackendMemory {
  readonly #frames: FrameCache;
  readonly #map: FrameMap;
  readonly #lifetime: Lifetime;
  readonly #marks: Marks | undefined;
  #regions: readonly MemoryRegion[] | undefined;

  /**
   * @param marks Where it is written down what is in the domain.
   */
  constructor(frames: FrameCache, map: FrameMap, lifetime: Lifetime, marks?: Marks) {
    this.#marks = marks;
    this.#frames = frames;
    this.#map = map;
    this.#lifetime = lifetime;
  }

  get regions(): readonly MemoryRegion[] {
    return this.#regions ??= this.#lifetime.there(() => this.#map.regions());
  }

  read(at: bigint, into: Uint8Array): void {
    this.#lifetime.there(() => this.#read(at, into));
  }

  write(at: bigint, bytes: Uint8Array): void {
    this.#lifetime.there(() => this.#write(at, bytes));
  }

  patched(at: bigint, code: Uint8Array, original: Uint8Array | undefined): void {
    this.#marks?.patch(at, code, original);
  }

  /** The page of an address, to be used at once: it may be unmapped when the next one is. @throws {FaultError} */
  page(at: bigint): Pick<ForeignMapping, "read" | "write"> {
    return this.#lifetime.there(() => this.#page(at, true));
  }

  #read(at: bigint, into: Uint8Array): void {
    const offset = Number(at & 0xfffn);
    // Whole pages go straight into the caller's buffer; what is left at both ends is copied piece by piece.
    const head = offset === 0 ? 0 : Math.min(PAGE - offset, into.length);
    if (head > 0) this.#page(at).read(offset, into.subarray(0, head));
    const whole = Math.floor((into.length - head) / PAGE);
    if (whole > 0) this.#readWhole(at + BigInt(head), whole, into.subarray(head, head + whole * PAGE));
    const done = head + whole * PAGE;
    if (done < into.length) this.#page(at + BigInt(done)).read(0, into.subarray(done));
  }

  #write(at: bigint, bytes: Uint8Array): void {
    // Every page must be there before the first byte is written.
    for (let done = 0; done < bytes.length;) {
      const here = at + BigInt(done);
      this.#page(here, true);
      done += PAGE - Number(here & 0xfffn);
    }
    for (let done = 0; done < bytes.length;) {
      const here = at + BigInt(done);
      const offset = Number(here & 0xfffn);
      const part = Math.min(PAGE - offset, bytes.length - done);
      this.#page(here, true).write(offset, bytes.subarray(done, done + part));
      done += part;
    }
  }

  #readWhole(at: bigint, pages: number, into: Uint8Array): void {
    const frames: number[] = [];
    const first = Number(at >> 12n);
    const known = at < MACHINE;
    for (let i = 0; i < pages; i++) {
      const frame = known ? this.#map.frame(first + i) : this.#frameOf(at + BigInt(i * PAGE));
      if (frame === undefined) throw absent(at + BigInt(i * PAGE));
      frames.push(frame);
    }
    const read = this.#frames.readPages(frames, into);
    if (read < pages) throw absent(at + BigInt(read * PAGE));
  }

  #frameOf(at: bigint): number | undefined {
    if (at >= MACHINE) return at >= MACHINE << 1n ? undefined : Number((at - MACHINE) >> 12n);
    return this.#map.frame(Number(at >> 12n));
  }

  #page(at: bigint, writable = false) {
    const frame = this.#frameOf(at);
    const page = frame === undefined ? undefined : this.#frames.page(frame, writable);
    if (page !== undefined) return page;
    if (writable && frame !== undefined && this.#frames.page(frame) !== undefined) {
      throw new FaultError(
        `0x${at.toString(16)} is a page table of a PV guest, and Xen lets nobody write it`,
        { address: at, space: "gpa" },
        { remedy: "have the guest change it by its hypercall" },
      );
    }
    throw absent(at);
  }
}

function absent(at: bigint): FaultError {
  const where = at >= MACHINE
    ? `machine address 0x${(at - MACHINE).toString(16)} is not this domain's memory`
    : `there is no memory at 0x${at.toString(16)}`;
  return new FaultError(where, { address: at, space: "gpa" }, { remedy: "see vm.memory.regions" });
}
