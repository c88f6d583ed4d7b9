import type { BareAddress, Gpa, Gva } from "./address.ts";
import type { BackendName, MemoryRegion, VcpuEvents } from "./backend.ts";
import type { Breakpoints } from "./breakpoint.ts";
import type { Capabilities, CapabilityName } from "./capabilities.ts";
import type { Device, DeviceRange } from "./device.ts";
import type { Registers, RegisterValues } from "./registers.ts";
import type { Stop } from "./stop.ts";
import type { Trace } from "./trace.ts";

/** Reading and writing guest memory by one kind of address. */
export interface Memory<Address extends bigint> {
  /**
   * Reads `length` bytes. Breakpoints are hidden: what the guest wrote is what is read.
   *
   * @throws {FaultError} If a byte is not there; names the address and, for linear ones, the level that failed.
   */
  read(at: Address | BareAddress, length: number): Promise<Uint8Array>;
  /** Fills `into`. @throws {FaultError} */
  readInto(at: Address | BareAddress, into: Uint8Array): Promise<void>;
  /** Writes `bytes`, ROM included; breakpoints stay. @throws {FaultError} */
  write(at: Address | BareAddress, bytes: Uint8Array | readonly number[]): Promise<void>;
  /** Reads a little-endian unsigned number of 1 to 8 bytes. @throws {FaultError} */
  readUint(at: Address | BareAddress, bytes: number): Promise<bigint>;
  /** Writes a little-endian unsigned number of 1 to 8 bytes. @throws {FaultError} */
  writeUint(at: Address | BareAddress, bytes: number, value: bigint): Promise<void>;
  /**
   * Finds every place where `pattern` lies, lowest first.
   *
   * @param options `from` and `to` (exclusive) bound the search, `limit` the number of places (default 1024).
   */
  search(
    pattern: Uint8Array | string,
    options?: { from?: Address | BareAddress; to?: Address | BareAddress; limit?: number },
  ): Promise<bigint[]>;
  /** Fills `length` bytes with `pattern`, again and again. @throws {FaultError} */
  fill(at: Address | BareAddress, length: number, pattern: Uint8Array | number): Promise<void>;
}

/** Guest-physical memory. */
export interface PhysicalMemory extends Memory<Gpa> {
  readonly regions: readonly MemoryRegion[];
  /**
   * A live view, without copying; breakpoint patches show in it, and it is dead once the machine is closed.
   * Only on local backends.
   *
   * @throws {FaultError} If the range does not lie in one region.
   */
  view?(at: Gpa | BareAddress, length: number): Uint8Array;
}

/** One level of a page walk. */
export interface WalkStep {
  /** "PML5E", "PML4E", "PDPTE", "PDE" or "PTE". */
  readonly level: string;
  /** Guest-physical address of the entry. */
  readonly entryAddress: bigint;
  readonly value: bigint;
  /** Names of the set flags, "P", "RW", "US", ... */
  readonly flags: readonly string[];
}

/** What paging makes of a linear address. */
export interface Translation {
  /** "none" (no paging), "32-bit", "pae", "4-level" or "5-level". */
  readonly paging: string;
  readonly steps: readonly WalkStep[];
  /** The guest-physical address; undefined where the walk failed. */
  readonly gpa?: bigint;
  /** Bytes of the page. */
  readonly pageSize?: bigint;
  readonly writable?: boolean;
  readonly user?: boolean;
  readonly executable?: boolean;
  /** Why the walk failed, and at which level. */
  readonly failure?: { readonly level: string; readonly reason: string };
}

/** Memory as one vCPU sees it. */
export interface LinearMemory extends Memory<Gva> {
  /** Walks the page tables for one address; never throws for a hole. */
  translate(at: Gva | BareAddress): Promise<Translation>;
}

/** One vCPU of a machine. */
export interface Vcpu {
  readonly index: number;
  readonly memory: LinearMemory;
  /** The registers now. @throws {StateError} If the guest runs. */
  registers(): Promise<Registers>;
  /** Sets those given. @throws {RangeError} If a value does not fit. @throws {StateError} If the guest runs. */
  setRegisters(values: RegisterValues): Promise<void>;
  /** Indices of the MSRs that can be shown. */
  msrs(): Promise<readonly number[]>;
  /** @throws {UnsupportedError} If there is no such MSR here. */
  readMsr(index: number): Promise<bigint>;
  /** @throws {UnsupportedError} If there is no such MSR here, or it refuses the value. */
  writeMsr(index: number, value: bigint): Promise<void>;
  /** The local APIC's register page, 1024 bytes. @throws {UnsupportedError} */
  lapic(): Promise<Uint8Array>;
  /** @throws {UnsupportedError} */
  setLapic(page: Uint8Array): Promise<void>;
  /** Pending exceptions, interrupts, NMIs. @throws {UnsupportedError} */
  events(): Promise<VcpuEvents>;
  /** @throws {UnsupportedError} */
  setEvents(events: Partial<VcpuEvents>): Promise<void>;
  /** The XSAVE area, standard format. @throws {UnsupportedError} */
  xsave(): Promise<Uint8Array>;
  /** @throws {UnsupportedError} */
  setXsave(area: Uint8Array): Promise<void>;
  /** Makes the guest take an exception when it next runs. @throws {UnsupportedError} */
  injectException(vector: number, errorCode?: number): Promise<void>;
}

/** The guest's console: what it printed, and a way to type. */
export interface Console {
  /** Everything the guest printed, up to the newest 1 MiB. */
  readonly text: string;
  /**
   * Waits until what came since the last match matches. It never resumes the guest: call `continue()` beside.
   *
   * @returns The match.
   * @param options `signal` ends the wait: it is then rejected with the signal's reason.
   * @throws {TimeoutError} After `timeoutMs` (default 30 s); shows the last lines.
   */
  expect(
    pattern: RegExp | string,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<RegExpMatchArray>;
  /** Types. Resolves when the guest's UART has room for all of it or has taken it. */
  send(text: string | Uint8Array): Promise<void>;
  /** Calls `listener` with what the guest prints from now on. */
  onOutput(listener: (bytes: Uint8Array) => void): Disposable;
}

/** A device on the machine. */
export interface DeviceHandle extends AsyncDisposable {
  readonly device: Device;
  readonly name: string;
  readonly ranges: readonly (DeviceRange & { readonly space: "port" | "mmio" })[];
  /** Takes it off the machine. Idempotent. */
  remove(): Promise<void>;
}

/** A machine's devices. */
export interface Devices {
  /**
   * Adds a device, to a paused or a running guest.
   *
   * @throws {InputError} If its name or a range is taken.
   * @throws {UnsupportedError} If the backend takes no devices.
   */
  add(device: Device): Promise<DeviceHandle>;
  list(): readonly DeviceHandle[];
  get(name: string): DeviceHandle | undefined;
}

/** Interrupts from outside. */
export interface MachineInterrupts {
  /** Raises (and by default lowers again) the interrupt input `gsi`. */
  pulse(gsi: number): Promise<void>;
  set(gsi: number, level: boolean): Promise<void>;
  /** @throws {UnsupportedError} */
  nmi(vcpu?: number): Promise<void>;
}

/** How `step` goes. */
export interface StepRequest {
  /** How many instructions; 1 by default. */
  readonly count?: number;
  /** Which vCPU; the one that stopped last by default. */
  readonly vcpu?: number;
  /** Whether pending interrupts are taken; false by default, as gdb users expect. */
  readonly interrupts?: boolean;
  /** Called after each instruction with the registers; `false` ends the steps. */
  readonly each?: (registers: Registers) => boolean | void;
}

/** A time limit. */
export interface RunLimit {
  /** Milliseconds until a `timeout` stop. */
  readonly timeoutMs?: number;
}

/** A guest under the debugger. */
export interface Machine extends AsyncDisposable {
  readonly backend: BackendName;
  readonly capabilities: Capabilities;
  readonly vcpus: readonly Vcpu[];
  /** Guest-physical memory. */
  readonly memory: PhysicalMemory;
  readonly breakpoints: Breakpoints;
  readonly devices: Devices;
  readonly console: Console;
  readonly interrupts: MachineInterrupts;
  readonly trace: Trace;
  readonly state: "paused" | "running" | "closed";
  /** The newest stop; undefined before the first. */
  readonly lastStop: Stop | undefined;
  /**
   * Lets the guest run until it stops.
   *
   * @throws {StateError} If it runs already or is closed.
   */
  continue(limit?: RunLimit): Promise<Stop>;
  /** Runs a number of instructions. Another reason may stop it before. */
  step(request?: number | StepRequest): Promise<Stop>;
  /** One instruction, but a call (or REP, or software interrupt) as one. */
  stepOver(options?: { vcpu?: number; interrupts?: boolean } & RunLimit): Promise<Stop>;
  /** Until the present function has returned. */
  stepOut(options?: { vcpu?: number } & RunLimit): Promise<Stop>;
  /** Until `address` is reached. */
  runUntil(address: Gva | Gpa | BareAddress, options?: { vcpu?: number } & RunLimit): Promise<Stop>;
  /** Stops a running guest; resolves with the stop (at once if it stands still). */
  pause(): Promise<Stop>;
  /** Every stop from now on, until the machine is closed. */
  stops(): AsyncIterableIterator<Stop>;
  /** Back to power-on: vCPUs, devices, interrupt controllers, and the boot image loaded anew. */
  reset(): Promise<void>;
  /** Throws unless the capability is usable. @throws {UnsupportedError} */
  require(name: CapabilityName | string): void;
  /** Disposal leaves the guest be (where it can outlive this process). @throws {UnsupportedError} */
  keep(): void;
  /** Ends it: breakpoints out, devices detached, guest destroyed or detached from. Idempotent. */
  close(): Promise<void>;
}
