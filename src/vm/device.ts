/** What a device is to hvsh: an object that answers accesses at offsets, and knows nothing else. */

import type { ConsoleEnd } from "./console.ts";
import type { RegisterBits } from "./register_bits.ts";

/** A range of ports or guest-physical addresses. */
export interface DeviceRange {
  /** First port, or first guest-physical address. */
  readonly start: number | bigint;
  /** How many ports or bytes. */
  readonly length: number | bigint;
}

/** Accesses that mean something together, as `break on DEVICE NAME` stops at them. */
export interface AccessPoint extends DeviceRange {
  /** Ports, or guest-physical addresses. */
  readonly space: "port" | "mmio";
  /** Only writes, or only reads; both if left out. */
  readonly direction?: "read" | "write";
}

/** A level on an interrupt input. */
export interface InterruptLine {
  /** Asserts the line. */
  raise(): void;
  /** Deasserts the line. */
  lower(): void;
}

/** A line that leads nowhere. */
export const NO_LINE: InterruptLine = { raise() {}, lower() {} };

/** Between an interrupt controller and the CPU: its INTR output, and the CPU's acknowledge cycles. */
export interface InterruptAcknowledge {
  /** Whether INTR is high: the CPU shall acknowledge when it can take an interrupt. */
  readonly requesting: boolean;
  /** The CPU takes an interrupt: gives its vector, 0..255, and puts the request in service. */
  acknowledge(): number;
}

/** What other devices' lines lead to where the hypervisor has no interrupt controllers of its own. */
export interface InterruptController {
  /** How many inputs it has; lines beyond go past it. */
  readonly inputs: number;
  /** Its input for the line `gsi`. */
  line(gsi: number): InterruptLine;
  /** Its way to the first vCPU; undefined for one that sends its vectors by `DeviceHost.message`. */
  readonly cpu?: InterruptAcknowledge;
}

/** Time as a device has it: it stands still while the guest does. */
export interface DeviceTime {
  /** Nanoseconds since some fixed point; never goes back. */
  now(): bigint;
  /** Calls `callback` once, `delay` nanoseconds from now or later; what is returned stops that. */
  schedule(delay: bigint, callback: () => void): () => void;
}

/** A request that a device took from one of its queues in memory. */
export interface DeviceRequest {
  /** The queue's number. */
  readonly queue: number;
  /** Bytes that the driver handed over. */
  readonly given: number;
  /** Bytes that the device may answer with. */
  readonly room: number;
  /** What it asks for in a few words, where the device can tell. */
  readonly what?: string;
}

/** A request as its device tells of it. */
export interface TakenRequest extends Omit<DeviceRequest, "what"> {
  /** As `DeviceRequest.what`, or what makes it: few requests of many are ever looked at. */
  readonly what?: string | (() => string);
}

/** Where a doorbell is. */
export interface DoorbellPlace {
  /** Guest-physical address. */
  readonly at: bigint;
  /** Bytes of the writes that ring it; others are accesses as ever. */
  readonly length: 1 | 2 | 4 | 8;
  /** The number that rings it, if no other does. */
  readonly value?: number;
}

/** Where a device tells why it interrupts: two registers of 32 bits in its `mmio`. */
export interface CausePlace {
  /** Guest-physical address of the one whose reads give the bits. */
  readonly status: bigint;
  /** Of the one whose writes clear bits. */
  readonly acknowledge: bigint;
  /** Its interrupt input. */
  readonly gsi: number;
}

/** Why a device interrupts, a bit for each reason: its line is high while any is set. */
export interface InterruptCauses {
  /** Those that are set. */
  readonly bits: number;
  /** Sets bits. */
  raise(bits: number): void;
  /** Clears bits. */
  acknowledge(bits: number): void;
  /**
   * Has such accesses answered beside the device from now on: they are no accesses any more. What is returned ends that;
   * so does everything that wants to see them. Undefined where they are to be seen.
   */
  aside?(): Disposable | undefined;
  /** Lets go of what is shared with others. */
  [Symbol.dispose]?(): void;
}

/** What a device gets of the machine it is plugged into. */
export interface DeviceHost {
  /** The interrupt input `gsi` (0..15 are the ISA interrupts). */
  line(gsi: number): InterruptLine;
  /** Guest-physical memory for DMA: `into.length` bytes from `at`. @throws {FaultError} If a byte is no memory. */
  read(at: bigint, into: Uint8Array): void;
  /** Guest-physical memory for DMA: `bytes` to `at`. @throws {FaultError} If a byte is no memory. */
  write(at: bigint, bytes: Uint8Array): void;
  /**
   * A view of `length` bytes of guest-physical memory from `at`, for a large transfer that would else be copied once
   * more: to be used at once and not kept. Undefined where there is none, as where they are not all RAM of one piece.
   */
  window?(at: bigint, length: number): Uint8Array | undefined;
  /**
   * Writes `data` to `address`, 0xfee00000 to 0xfeefffff, as message-signalled interrupts do (SDM vol. 3A, 11.11): the
   * vCPUs that they name take the vector. What the guest chose and nobody takes is lost.
   */
  message?(address: number, data: number): void;
  /**
   * Whether it is the hypervisor that holds such a message back when it is masked, and not who sends it: a kernel that has
   * its messages come by something of the hypervisor's leaves the sender's mask bits as they are. `address` may have more
   * than 32 bits then. Left out: it never is.
   */
  masks?(address: number, data: number): boolean;
  /**
   * The guest does not need these bytes for now: the host gets their pages back where it can, and they read as zeros
   * until the guest or a device writes them. Only whole pages of 4096 bytes. Undefined where memory can't be given
   * back. @throws {FaultError} If a byte is no memory.
   */
  discard?(at: bigint, length: number): void;
  /**
   * `device` has other `ports` or `mmio` than before (a PCI function whose base address registers were written).
   * If one is taken or makes no sense the device answers nowhere in that space: the guest chose it. Nothing is
   * thrown.
   */
  moved?(device: Device): void;
  /**
   * Lets the guest go on when it writes there, in the device's `mmio`, to say that there is something to do: such
   * writes are no accesses any more, `rung` is called soon after. What is returned ends that; so does everything that
   * wants to see accesses there, and a reset of the device should.
   *
   * @returns undefined where there are none, or the accesses are to be seen.
   */
  doorbell?(place: DoorbellPlace, rung: () => void): Disposable | undefined;
  /**
   * The bits of two registers, and the line that they hold high, in place of `line`, for a machine that can answer
   * accesses there by itself; undefined where there is nothing of the kind. To be disposed of when the device leaves.
   */
  causes?(place: CausePlace): InterruptCauses | undefined;
  /** The machine's device time, for a device that does something by itself; undefined where there is none. */
  readonly clock?: DeviceTime;
  /**
   * Calls `come` soon after something came that the host's descriptor `fd` can read, while the guest runs. What is
   * returned ends that; it is to be ended before `fd` is closed.
   *
   * @returns undefined where there is nothing of the kind: the device has to look for itself.
   */
  readable?(fd: number, come: () => void): Disposable | undefined;
  /** Notes a request that the device has taken, in the trace; undefined where there is none. */
  requested?(request: TakenRequest): void;
  /** Tells the user something about the host's side of the device. */
  notice?(text: string): void;
  /** The machine's console, for a device that prints there; undefined where there is none. */
  readonly console?: ConsoleEnd;
  /**
   * Puts RAM behind a stretch of the device's `mmio`, so that the guest's accesses there do not come to the device any
   * more and cost no exits. What is in it at first is anything.
   *
   * @param start First guest-physical address, a multiple of 4096, as is `length`.
   * @param taken Called just before the machine takes it back by itself, because somebody wants to see the accesses.
   * @param what "reads": the guest's writes come to the device all the same; reads and writes stay away if left out.
   * @returns undefined if the machine has none to lend there, or the accesses are to be seen.
   */
  lend?(start: bigint, length: number, taken: () => void, what?: "reads"): LentMemory | undefined;
}

/** RAM that a device has behind its addresses for a while. */
export interface LentMemory {
  /** Its bytes, which the guest reads and writes too; not to be used after the end. */
  readonly bytes: Uint8Array;
  /** Ends it: accesses come to the device again. */
  end(): void;
}

/**
 * A device: a plain object or a class. It answers in `ports`, `mmio` or both; an access that spans its end is
 * cut there, the rest reads as ones.
 *
 * @example
 * ```ts
 * import type { Device } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const answer: Device = {
 *   name: "answer",
 *   ports: { start: 0x777, length: 1 },
 *   read: (_offset, data) => void data.fill(42),
 * };
 *
 * const data = new Uint8Array(1);
 * answer.read?.(0, data, { start: 0x777, length: 1 }); // what the bus does when the guest runs IN
 * assert.equal(data[0], 42);
 * ```
 */
export interface Device {
  /** Unique among a machine's devices. */
  readonly name: string;
  /** Port ranges. */
  readonly ports?: DeviceRange | readonly DeviceRange[];
  /** Ranges of guest-physical addresses without memory behind them. */
  readonly mmio?: DeviceRange | readonly DeviceRange[];
  /**
   * The guest reads. Fill `data` (little-endian; valid during the call only); what is left alone reads as ones.
   *
   * @param offset Bytes from the start of `range`.
   * @param data 1, 2, 4 (ports) or 1..8 (MMIO) bytes.
   * @param range Which of the device's ranges was hit.
   */
  read?(offset: number, data: Uint8Array, range: DeviceRange): void;
  /** The guest writes `data` (little-endian; valid during the call only). */
  write?(offset: number, data: Uint8Array, range: DeviceRange): void;
  /**
   * INS: the guest reads the same port several times at once. Fill `data` with what `data.length / size` calls of
   * `read` would have given; what is left alone reads as ones. Left out: `read` is called for each unit.
   *
   * @param size Bytes of a unit: 1, 2 or 4.
   */
  readString?(offset: number, data: Uint8Array, size: number, range: DeviceRange): void;
  /** OUTS: the guest writes the units of `data` to the same port. Left out: `write` is called for each unit. */
  writeString?(offset: number, data: Uint8Array, size: number, range: DeviceRange): void;
  /**
   * For a range of guest-physical addresses that is like memory, as a screen's is: what the guest would read of any
   * number of bytes, without changing anything. Debuggers and other devices' DMA get at them by it.
   *
   * @returns Whether this range is like memory; false leaves `into` alone.
   */
  readMemory?(offset: number, into: Uint8Array, range: DeviceRange): boolean;
  /** Writes any number of bytes there as the guest would. @returns Whether this range is like memory. */
  writeMemory?(offset: number, bytes: Uint8Array, range: DeviceRange): boolean;
  /**
   * Called just before it is plugged in, for a device that may choose where it answers: `free` tells whether a
   * range of guest-physical addresses has neither memory nor a device. `ports` and `mmio` are looked at afterwards.
   *
   * @throws {InputError} If there is no place for it.
   */
  place?(free: (start: bigint, length: bigint) => boolean): void;
  /** Called once when the device is plugged in. */
  attach?(host: DeviceHost): void;
  /** Called when the device is taken out or the machine closes. */
  detach?(): void;
  /** Back to the power-on state. */
  reset?(): void;
  /** The whole state as a record with a `version`. */
  save?(): unknown;
  /** Takes what `save` gave. @throws {InputError} If the record is of another device or version. */
  restore?(state: unknown): void;
  /** Registers by name, for `device NAME` in the shell; must not change the device's state. */
  inspect?(): Readonly<Record<string, number | bigint | string>>;
  /** The interrupt inputs it drives, for lists. */
  readonly interrupts?: readonly number[];
  /** Its state in a few words, for lists; must not change it. */
  summary?(): string;
  /** Names of the bits of what `inspect` shows, by register. */
  readonly bits?: Readonly<Record<string, RegisterBits>>;
  /** What makes it an interrupt controller: the lines of all devices lead there while it is plugged in. */
  readonly controller?: InterruptController;
  /** Names for accesses that are worth a stop: "command" of a disk controller. */
  readonly points?: Readonly<Record<string, readonly AccessPoint[]>>;
}

/** A range as the bus keeps it. */
export interface PlacedRange {
  readonly device: Device;
  readonly space: "port" | "mmio";
  readonly start: bigint;
  /** `start` as a number, which ports are: nothing has to be converted at an access. */
  readonly first: number;
  /** First address behind the range. */
  readonly end: bigint;
  /** The range object as the device gave it. */
  readonly range: DeviceRange;
}
