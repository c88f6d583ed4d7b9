import type { Gpa, Gva } from "./address.ts";
import type { ReportSpace } from "./exit.ts";
import type { Registers } from "./registers.ts";
import type { Vcpu } from "./machine.ts";

/** What a condition gets to see. It runs where the debugger is, right after the guest was left. */
export interface Hit {
  /** The vCPU that reached the breakpoint. */
  readonly vcpu: Vcpu;
  /** Its registers: at an execute breakpoint before the instruction, at a watchpoint behind it. */
  readonly registers: Registers;
  /** How often the breakpoint's address was reached, this time included. */
  readonly hits: number;
  /** The breakpoint's address, without its space. */
  readonly address: bigint;
  /**
   * Reads `length` bytes at a linear address (or at a physical one, with `gpa()`), breakpoints hidden.
   * Synchronous on local backends; on remote ones it gives a Promise.
   *
   * @throws {FaultError} If a byte of it is not mapped, or is no memory.
   */
  read(address: bigint, length: number): Uint8Array;
  /** Reads a little-endian unsigned number of `bytes` bytes, 1 to 8. @throws {FaultError} If it is not mapped. */
  readUint(address: bigint, bytes: number): bigint;
}

/**
 * Decides whether a hit stops the machine. A Promise is awaited while the guest stands still. A condition that throws,
 * does not come back within 2 s, or whose Promise does not settle within 10 s, is a `fault` stop.
 */
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
  /** Removed after its first stop; false by default. */
  readonly once?: boolean;
  /** How many hits (with a true condition) are passed over first; 0 by default. */
  readonly ignore?: number;
  /** Only the vCPU with this index; all of them by default. */
  readonly vcpu?: number;
  /** Only while CR3 has this value: bits 12..51 are compared, PCID and cache bits are not. */
  readonly cr3?: bigint;
  /** Whether a hit stops; all do by default. */
  readonly condition?: Condition;
}

/**
 * What accesses can be broken on: IN and OUT, accesses to guest-physical addresses without memory, RDMSR and WRMSR; and
 * where a hypervisor reports them (Xen, of PVH and HVM guests) writes to control registers, CPUID, accesses to the
 * registers of descriptor tables, and a guest's own request to be looked at.
 */
export type AccessSpace = "port" | "mmio" | ReportSpace;

/** What a break on accesses shall be. */
export interface AccessBreakOptions {
  /** What is accessed. */
  readonly space: AccessSpace;
  /**
   * First port (16 bits), MSR (32 bits) or guest-physical address; `cr`: 0, 3, 4 or `XCR0`; `cpuid`: the leaf (32 bits);
   * `descriptor`: an index into `DESCRIPTOR_REGISTERS`; `request`: 0.
   */
  readonly start: number | bigint;
  /** How many ports, MSRs or bytes; 1 by default. */
  readonly length?: number | bigint;
  /** Which direction; both by default. */
  readonly direction?: "read" | "write";
  /** Removed after its first stop; false by default. */
  readonly once?: boolean;
  /** How many hits (with a true condition) are passed over first; 0 by default. */
  readonly ignore?: number;
  /** Whether an access stops; all do by default. */
  readonly condition?: (access: AccessHit) => boolean | Promise<boolean>;
}

/** What the condition of an access break sees. */
export interface AccessHit {
  /** The vCPU that did the access. */
  readonly vcpu: Vcpu;
  /** Its registers behind the access, what was read included. */
  readonly registers: Registers;
  /** How often the break was reached, this time included. */
  readonly hits: number;
  /** Whose address `address` is. */
  readonly space: AccessSpace;
  /** As `AccessBreakOptions.start`: of the access itself. */
  readonly address: bigint;
  /** Whether it was OUT, WRMSR, a store, or another write. */
  readonly write: boolean;
  /** What was read or written, little-endian; `cpuid`: EAX, EBX, ECX and EDX of the answer. */
  readonly data: Uint8Array;
  /** The value before, where it is told: of control registers, and of MSRs that are only reported. */
  readonly before?: Uint8Array;
}

/** A breakpoint, watchpoint or access break that is set. Disposing of it removes it. */
export interface Breakpoint extends AsyncDisposable {
  /** Its number: counts from 1, and is never given again. */
  readonly id: number;
  /** Where: as it was given. */
  readonly address: Gva | Gpa | bigint;
  /** What stops: execution, writes, or reads and writes. */
  readonly access: "execute" | "write" | "access";
  /** Bytes (or ports, or MSRs) that it covers. */
  readonly size: bigint;
  /** Whose address `address` is: linear or guest-physical, or what an access break is on. */
  readonly space: "gva" | "gpa" | AccessSpace;
  /** By which means it is held in the guest. */
  readonly how: BreakpointHow;
  /** How often it was reached while `vcpu` and `cr3` fitted, whatever its condition said. */
  readonly hits: number;
  /**
   * How often of these its condition was true, or threw or never returned, which stops too; hits passed over by `ignore`
   * included: what gdb counts.
   */
  readonly matches: number;
  /** Whether its first stop removes it. */
  readonly once: boolean;
  /** How many hits are still passed over; may be set at any time. */
  ignore: number;
  /** Whether it is in the guest now; see `enable`. */
  readonly enabled: boolean;
  /** Only this vCPU stops; undefined: any. */
  readonly vcpu?: number;
  /** The CR3 without which it does not count; undefined: any. */
  readonly cr3?: bigint;
  /** The condition, replaceable; undefined: always. */
  condition: Condition | ((access: AccessHit) => boolean | Promise<boolean>) | undefined;
  /**
   * Switches it on or off; it keeps its id and counts.
   *
   * @throws {UnsupportedError} If its means were taken meanwhile: no debug register is free.
   */
  enable(on: boolean): Promise<void>;
  /** Takes it out and puts the guest's bytes back. Idempotent. */
  remove(): Promise<void>;
}

/** A machine's breakpoints; iterating gives them by id. */
export interface Breakpoints extends Iterable<Breakpoint> {
  /**
   * Sets a breakpoint at a linear address, or with `gpa()` at a guest-physical one. A linear address that needs
   * translating is translated now, through the paging of the vCPU that stopped last.
   *
   * @throws {UnsupportedError} If no means works there; carries reason and remedy.
   * @throws {FaultError} If the address is not mapped and no debug register is free.
   * @throws {InputError} If the options don't go together, or name a vCPU that is not there.
   * @example A condition sees registers and memory, and runs where the debugger is.
   * ```ts
   * import { flat, gva, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * // In real mode at 0x1000: inc ax; mov [0x2000], ax; jmp 0x1000
   * const code = Uint8Array.of(0x40, 0xa3, 0x00, 0x20, 0xeb, 0xfa);
   * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
   *
   * const bp = await vm.breakpoints.add(gva(0x1004n), { condition: (hit) => hit.readUint(0x2000n, 2) === 7n });
   * const stop = await vm.continue();
   * assert.equal(stop.kind, "breakpoint");
   * assert.equal(stop.registers.rax, 7n);
   * assert.equal(bp.hits, 7); // six of them went on
   * await bp.remove();
   * ```
   * @example A watchpoint stops behind the instruction that wrote.
   * ```ts
   * import { flat, gva, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * // In real mode at 0x1000: mov word [0x2000], 0x1234; hlt
   * const code = Uint8Array.of(0xc7, 0x06, 0x00, 0x20, 0x34, 0x12, 0xf4);
   * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
   *
   * await vm.breakpoints.add(gva(0x2000n), { access: "write", size: 2 });
   * const stop = await vm.continue();
   * assert.equal(stop.kind, "watchpoint");
   * assert.equal(stop.rip, 0x1006n);
   * assert.equal(await vm.memory.readUint(0x2000n, 2), 0x1234n);
   * ```
   */
  add(address: Gva | Gpa | bigint, options?: BreakpointOptions): Promise<Breakpoint>;
  /**
   * Stops at accesses to ports, MMIO or MSRs, and at what else a hypervisor reports. The access has been done when the
   * machine stops, but for one to a descriptor table's register, before which it stops. Xen reports what changes a
   * control register, and not what is written to it once more.
   *
   * @throws {UnsupportedError} If this backend's accesses (or MSRs) don't leave the guest, or are not reported.
   * @throws {InputError} If the range is empty or does not fit its space; at most 4096 MSRs are broken on at once.
   * @example
   * ```ts
   * import { flat, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * // In real mode: mov al, 0x55; out 0x80, al; hlt
   * const code = Uint8Array.of(0xb0, 0x55, 0xe6, 0x80, 0xf4);
   * await using vm = await open({ backend: "fake", boot: flat(code) });
   *
   * await vm.breakpoints.onAccess({ space: "port", start: 0x80, direction: "write" });
   * const stop = await vm.continue();
   * assert(stop.kind === "access");
   * assert.deepEqual([stop.address, [...stop.data]], [0x80n, [0x55]]);
   * ```
   */
  onAccess(options: AccessBreakOptions): Promise<Breakpoint>;
  /** The breakpoint with this id, if it is still set. */
  get(id: number): Breakpoint | undefined;
  /** Removes all. */
  clear(): Promise<void>;
}
