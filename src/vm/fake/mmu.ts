import type { AccessLog } from "./accesses.ts";
import { translate } from "./paging.ts";
import type { PhysicalMemory } from "./physical.ts";
import { generalProtection, GuestFault, VECTOR } from "./signals.ts";
import { ATTRIBUTE, CR4_LA57, FS, SS, type State } from "./state.ts";

const PAGE_MASK = 0xfffn;

/** Told of each access to data, for watchpoints. */
export type Watcher = (linear: bigint, size: number, write: boolean) => void;

/** A vCPU's way to memory: segmentation, paging, then RAM or an MMIO exit. */
export class Mmu {
  /** Set while somebody watches data. */
  watcher: Watcher | undefined;
  readonly #state: State;
  readonly #memory: PhysicalMemory;
  readonly #log: AccessLog;

  constructor(state: State, memory: PhysicalMemory, log: AccessLog) {
    this.#state = state;
    this.#memory = memory;
    this.#log = log;
  }

  /** Reads `size` bytes of data at an offset in a segment. */
  load(segment: number, offset: bigint, size: number): bigint {
    const linear = this.linear(segment, offset, size, false);
    this.watcher?.(linear, size, false);
    return this.#read(linear, size, this.#state.cpl === 3);
  }

  /** Writes `size` bytes of data at an offset in a segment. */
  store(segment: number, offset: bigint, size: number, value: bigint): void {
    const linear = this.linear(segment, offset, size, true);
    this.watcher?.(linear, size, true);
    this.#write(linear, size, value, this.#state.cpl === 3);
  }

  /** Reads a system structure (descriptor, TSS, IVT) at a linear address, as supervisor. */
  loadSystem(linear: bigint, size: number): bigint {
    return this.#read(this.#wrap(linear), size, false);
  }

  /** Writes a system structure, or a stack frame of a more privileged level. */
  storeSystem(linear: bigint, size: number, value: bigint): void {
    this.#write(this.#wrap(linear), size, value, false);
  }

  /** Guest-physical address that code at linear address `at` is fetched from. @throws {GuestFault} */
  code(at: bigint): number {
    const s = this.#state;
    return translate(s, this.#memory, this.#wrap(at), false, s.cpl === 3, true);
  }

  /**
   * Segmentation (SDM vol. 3A, 5.3): limit, type and null checks outside 64-bit code, canonical form in it.
   * Faults are #SS for the stack segment, #GP for others.
   */
  linear(segment: number, offset: bigint, size: number, write: boolean): bigint {
    const s = this.#state;
    const { base, limit, attributes } = s.seg[segment];
    if (s.code === 8) {
      const linear = BigInt.asUintN(64, segment >= FS ? base + offset : offset);
      if (!isCanonical(s, linear)) throw segmentFault(segment);
      return linear;
    }
    if (s.protectedMode) {
      if ((attributes & ATTRIBUTE.UNUSABLE) !== 0) throw segmentFault(segment);
      const code = (attributes & 8) !== 0;
      const readWrite = (attributes & 2) !== 0;
      if (write ? code || !readWrite : code && !readWrite) throw segmentFault(segment);
    }
    const last = Number(offset) + size - 1;
    const expandDown = s.protectedMode && (attributes & 0xc) === 4;
    const outside = expandDown
      ? Number(offset) <= limit || last > ((attributes & ATTRIBUTE.DB) !== 0 ? 0xffffffff : 0xffff)
      : last > limit;
    if (outside) throw segmentFault(segment);
    return BigInt.asUintN(32, base + offset);
  }

  #read(linear: bigint, size: number, user: boolean): bigint {
    if (Number(linear & PAGE_MASK) + size <= 0x1000) {
      const at = translate(this.#state, this.#memory, linear, false, user, false);
      return this.#memory.load(at, size) ?? this.#log.mmioRead(at, size);
    }
    const first = 0x1000 - Number(linear & PAGE_MASK);
    // Both halves are translated before any is read, so that a fault on the second leaves no trace.
    const places = this.#split(linear, first, false, user);
    const low = this.#piece(places[0], first);
    return low | this.#piece(places[1], size - first) << BigInt(8 * first);
  }

  #write(linear: bigint, size: number, value: bigint, user: boolean): void {
    const masked = BigInt.asUintN(8 * size, value);
    if (Number(linear & PAGE_MASK) + size <= 0x1000) {
      const at = translate(this.#state, this.#memory, linear, true, user, false);
      if (!this.#memory.store(at, size, masked)) this.#log.mmioWrite(at, size, masked);
      return;
    }
    const first = 0x1000 - Number(linear & PAGE_MASK);
    const places = this.#split(linear, first, true, user);
    this.#storePiece(places[0], first, BigInt.asUintN(8 * first, masked));
    this.#storePiece(places[1], size - first, masked >> BigInt(8 * first));
  }

  /** Physical places of the two parts of an access that crosses a page. */
  #split(linear: bigint, first: number, write: boolean, user: boolean): [number, number] {
    const second = this.#wrap(linear + BigInt(first));
    return [
      translate(this.#state, this.#memory, linear, write, user, false),
      translate(this.#state, this.#memory, second, write, user, false),
    ];
  }

  /** Reads 1 to 7 bytes in one page: byte by byte from memory, as one access from a device. */
  #piece(at: number, size: number): bigint {
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) {
      const byte = this.#memory.load(at + i, 1);
      if (byte === undefined) return this.#log.mmioRead(at, size);
      value = value << 8n | byte;
    }
    return value;
  }

  #storePiece(at: number, size: number, value: bigint): void {
    for (let i = 0; i < size; i++) {
      if (!this.#memory.store(at + i, 1, value >> BigInt(8 * i) & 0xffn)) {
        return this.#log.mmioWrite(at, size, value);
      }
    }
  }

  #wrap(linear: bigint): bigint {
    return BigInt.asUintN(this.#state.longMode ? 64 : 32, linear);
  }
}

/** Whether `linear` is canonical: its upper bits repeat bit 47, or bit 56 with 5-level paging. */
export function isCanonical(state: State, linear: bigint): boolean {
  const bits = (state.cr4 & CR4_LA57) !== 0n ? 57 : 48;
  return BigInt.asIntN(bits, linear) === BigInt.asIntN(64, linear);
}

function segmentFault(segment: number): GuestFault {
  return segment === SS ? new GuestFault(VECTOR.SS, 0) : generalProtection();
}
