import type { Gpa, Gva } from "./address.ts";
import type { Registers } from "./registers.ts";
import type { Vcpu } from "./machine.ts";

/** What a condition gets to see. It runs where the debugger is, right after the guest was left. */
export interface Hit {
  readonly vcpu: Vcpu;
  readonly registers: Registers;
  /** How often the breakpoint's address was reached, this time included. */
  readonly hits: number;
  /** The breakpoint's address. */
  readonly address: bigint;
  /**
   * Reads `length` bytes at a linear address (or at a physical one, with `gpa()`), breakpoints hidden.
   * Synchronous on local backends; on remote ones it gives a Promise.
   *
   * @throws {FaultError} If it is not mapped.
   */
  read(address: bigint, length: number): Uint8Array;
  /** Reads a little-endian unsigned number of `bytes` bytes, 1 to 8. @throws {FaultError} If it is not mapped. */
  readUint(address: bigint, bytes: number): bigint;
}

/** Decides whether a hit stops the machine. A Promise is awaited. */
export type Condition = (hit: Hit) => boolean | Promise<boolean>;

/** How a breakpoint is held in the guest. */
export type BreakpointHow =
  /** A debug register. */
  | "hardware"
  /** INT3 in the guest's code. */
  | "int3"
  /** HLT in the guest's code, which leaves the guest at CPL 0. */
  | "hlt"
  /** OUT to an unused port in the guest's code, which leaves the guest at CPL 0. */
  | "out"
  /** The page is read-only for the guest; writes come to the debugger. */
  | "page"
  /** Every instruction is stepped and looked at: slow, works everywhere. */
  | "step"
  /** Every access leaves the guest anyway: ports, MMIO, trapped MSRs. */
  | "exit"
  /** Kept on the other side of a remote protocol. */
  | "remote";

/** What a breakpoint shall be. */
export interface BreakpointOptions {
  /** Which means; "auto" takes the one that disturbs the guest least. */
  readonly kind?: "auto" | "software" | "hardware";
  /** What stops: execution (default), a write, or a read or write, of `size` bytes. */
  readonly access?: "execute" | "write" | "access";
  /** Bytes watched: 1 (default for execute), 2, 4, 8. */
  readonly size?: 1 | 2 | 4 | 8;
  /** Removed after its first stop. */
  readonly once?: boolean;
  /** How many hits (with a true condition) are passed over first. */
  readonly ignore?: number;
  /** Only this vCPU. */
  readonly vcpu?: number;
  /** Only while CR3 has this value (its address bits). */
  readonly cr3?: bigint;
  readonly condition?: Condition;
}

/** What a break on accesses shall be. */
export interface AccessBreakOptions {
  readonly space: "port" | "mmio" | "msr";
  /** First port, MSR or guest-physical address. */
  readonly start: number | bigint;
  /** How many; 1 by default. */
  readonly length?: number | bigint;
  /** Which direction; both by default. */
  readonly direction?: "read" | "write";
  readonly once?: boolean;
  readonly ignore?: number;
  readonly condition?: (access: AccessHit) => boolean | Promise<boolean>;
}

/** What the condition of an access break sees. */
export interface AccessHit {
  readonly vcpu: Vcpu;
  readonly registers: Registers;
  readonly hits: number;
  readonly space: "port" | "mmio" | "msr";
  readonly address: bigint;
  readonly write: boolean;
  /** What was read or written, little-endian. */
  readonly data: Uint8Array;
}

/** A breakpoint, watchpoint or access break that is set. */
export interface Breakpoint extends AsyncDisposable {
  readonly id: number;
  /** Where: as it was given. */
  readonly address: Gva | Gpa | bigint;
  readonly access: "execute" | "write" | "access";
  /** Bytes (or ports) that it covers. */
  readonly size: bigint;
  /** Set for access breaks: whose address it is. */
  readonly space: "gva" | "gpa" | "port" | "mmio" | "msr";
  readonly how: BreakpointHow;
  /** How often it was reached. */
  readonly hits: number;
  readonly once: boolean;
  /** How many hits are still passed over. */
  ignore: number;
  readonly enabled: boolean;
  readonly cr3?: bigint;
  /** The condition, replaceable; undefined: always. */
  condition: Condition | ((access: AccessHit) => boolean | Promise<boolean>) | undefined;
  /** Switches it on or off; it keeps its id and counts. */
  enable(on: boolean): Promise<void>;
  /** Takes it out and puts the guest's bytes back. Idempotent. */
  remove(): Promise<void>;
}

/** A machine's breakpoints; iterating gives them by id. */
export interface Breakpoints extends Iterable<Breakpoint> {
  /**
   * Sets a breakpoint at a linear address, or with `gpa()` at a guest-physical one.
   *
   * @throws {UnsupportedError} If no means works there; carries reason and remedy.
   * @throws {FaultError} If the address is not mapped and no debug register is free.
   */
  add(address: Gva | Gpa | bigint, options?: BreakpointOptions): Promise<Breakpoint>;
  /** Stops at accesses to ports, MMIO or MSRs. @throws {UnsupportedError} */
  onAccess(options: AccessBreakOptions): Promise<Breakpoint>;
  get(id: number): Breakpoint | undefined;
  /** Removes all. */
  clear(): Promise<void>;
}
