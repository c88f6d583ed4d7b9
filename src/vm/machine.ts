import type { BareAddress, Gpa, Gva } from "./address.ts";
import type { BackendName, MemoryRegion, VcpuEvents } from "./backend.ts";
import type { Breakpoints } from "./breakpoint.ts";
import type { Capabilities, CapabilityName } from "./capabilities.ts";
import type { Device, DeviceRange } from "./device.ts";
import type { MachineHistory } from "./history.ts";
import type { Registers, RegisterValues } from "./registers.ts";
import type { Stop } from "./stop.ts";
import type { Trace } from "./trace.ts";

/**
 * Reading and writing guest memory by one kind of address. An address that says it is of the other kind is
 * refused with an InputError; a bare `bigint` is taken to be of this kind.
 */
export interface Memory<Address extends bigint> {
  /**
   * Reads `length` bytes, 4 GiB at most. Breakpoints are hidden: what the guest wrote is what is read.
   *
   * @throws {FaultError} If a byte is not there; names the address and, for linear ones, the level that failed.
   * @throws {InputError} If the length is no whole number from 0 to 2^32.
   * @example
   * ```ts
   * import { flat, gpa, gva, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * const code = Uint8Array.of(0xb8, 0x34, 0x12, 0xf4); // mov ax, 0x1234; hlt
   * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
   *
   * assert.deepEqual(await vm.memory.read(gpa(0x1000n), 4), code);
   * assert.equal(await vm.vcpus[0].memory.readUint(gva(0x1001n), 2), 0x1234n);
   * await assert.rejects(vm.memory.read(gpa(0xc000_0000n), 1), { name: "FaultError" }); // no memory there
   * ```
   */
  read(at: Address | BareAddress, length: number): Promise<Uint8Array>;
  /** Fills `into`, without making a new array. @throws {FaultError} If a byte is not there. */
  readInto(at: Address | BareAddress, into: Uint8Array): Promise<void>;
  /** Writes `bytes`, ROM included; breakpoints stay. @throws {FaultError} If a byte is not there. */
  write(at: Address | BareAddress, bytes: Uint8Array | readonly number[]): Promise<void>;
  /** Reads a little-endian unsigned number of 1 to 8 bytes. @throws {FaultError} If a byte is not there. */
  readUint(at: Address | BareAddress, bytes: number): Promise<bigint>;
  /**
   * Writes a little-endian unsigned number of 1 to 8 bytes.
   *
   * @throws {FaultError} If a byte is not there.
   * @throws {RangeError} If `value` is negative or does not fit.
   */
  writeUint(at: Address | BareAddress, bytes: number, value: bigint): Promise<void>;
  /**
   * Finds every place where `pattern` lies, lowest first; places may overlap. A string is looked for as UTF-8.
   *
   * @param options `from` and `to` (exclusive) bound the search, `limit` the number of places (default 1024).
   * @throws {InputError} If the pattern is empty, or `to` is below `from`.
   * @example
   * ```ts
   * import { flat, gpa, MiB, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * const hay = new TextEncoder().encode("needle, hay, needle");
   * await using vm = await open({ backend: "fake", memory: MiB(1), boot: flat(hay, { at: 0x1000 }) });
   *
   * assert.deepEqual(await vm.memory.search("needle"), [0x1000n, 0x100dn]);
   * assert.deepEqual(await vm.memory.search("needle", { from: gpa(0x1001n), limit: 1 }), [0x100dn]);
   * ```
   */
  search(
    pattern: Uint8Array | string,
    options?: { from?: Address | BareAddress; to?: Address | BareAddress; limit?: number },
  ): Promise<bigint[]>;
  /**
   * Fills `length` bytes with `pattern`, again and again; a number is one byte.
   *
   * @throws {FaultError} If a byte is not there; those before it have been written.
   */
  fill(at: Address | BareAddress, length: number, pattern: Uint8Array | number): Promise<void>;
}

/** Guest-physical memory: RAM and ROM; what has only a device behind it is not memory. */
export interface PhysicalMemory extends Memory<Gpa> {
  /** RAM and ROM, sorted by address, never overlapping. */
  readonly regions: readonly MemoryRegion[];
  /**
   * A live view, without copying; breakpoint patches show in it, and it is dead once the machine is closed.
   * Only on local backends.
   *
   * @throws {FaultError} If the range does not lie in one region.
   */
  view?(at: Gpa | BareAddress, length: number): Uint8Array;
}

/** One level of a page walk (SDM vol. 3A, 4.3 to 4.5). */
export interface WalkStep {
  /** "PML5E", "PML4E", "PDPTE", "PDE" or "PTE". */
  readonly level: string;
  /** Guest-physical address of the entry. */
  readonly entryAddress: bigint;
  /** The entry: 64 bits, 32 in 32-bit paging. */
  readonly value: bigint;
  /** Names of the set flags: "P", "R/W", "U/S", "A", "D", "PS", "G", "XD", ... */
  readonly flags: readonly string[];
}

/** What paging makes of a linear address. */
export interface Translation {
  /** "none" (no paging), "32-bit", "pae", "4-level" or "5-level". */
  readonly paging: string;
  /** The entries from the top, up to the one that maps the page or says no; none without paging. */
  readonly steps: readonly WalkStep[];
  /** The guest-physical address; undefined where the walk failed. */
  readonly gpa?: bigint;
  /** Bytes of the page: 4 KiB, 2 MiB, 4 MiB or 1 GiB; 4 GiB without paging. */
  readonly pageSize?: bigint;
  /** Whether every level allows writes; CR0.WP is not looked at. */
  readonly writable?: boolean;
  /** Whether every level allows CPL 3. */
  readonly user?: boolean;
  /** Whether no level forbids execution (XD). */
  readonly executable?: boolean;
  /** Why the walk failed, and at which level. */
  readonly failure?: { readonly level: string; readonly reason: string };
}

/** Memory as one vCPU sees it. */
export interface LinearMemory extends Memory<Gva> {
  /** Walks the page tables for one address; never throws for a hole. */
  translate(at: Gva | BareAddress): Promise<Translation>;
}

/** One vCPU of a machine. Every method but those of `memory` throws a StateError while the guest runs. */
export interface Vcpu {
  /** Its place in `vm.vcpus`, from 0. */
  readonly index: number;
  /** Memory by linear addresses, through this vCPU's paging as it is at the time of each call. */
  readonly memory: LinearMemory;
  /** The registers now, a snapshot. @throws {StateError} If the guest runs. */
  registers(): Promise<Registers>;
  /**
   * Sets those given, the others stay.
   *
   * @throws {RangeError} If a value is negative or does not fit its register; see `registerBits`.
   * @throws {StateError} If the guest runs.
   */
  setRegisters(values: RegisterValues): Promise<void>;
  /** Indices of the MSRs that can be shown, as RDMSR takes them in ECX (SDM vol. 4). */
  msrs(): Promise<readonly number[]>;
  /** An MSR's value, 64 bits. @throws {UnsupportedError} If there is no such MSR here. */
  readMsr(index: number): Promise<bigint>;
  /** Sets an MSR, 64 bits. @throws {UnsupportedError} If there is no such MSR here, or it refuses the value. */
  writeMsr(index: number, value: bigint): Promise<void>;
  /**
   * The local APIC's register page, 1024 bytes: a little-endian doubleword every 16 bytes (SDM vol. 3A, 11.4.1).
   *
   * @throws {UnsupportedError} If the hypervisor has no local APIC for this guest.
   */
  lapic(): Promise<Uint8Array>;
  /** Sets all of the local APIC. @throws {UnsupportedError} If the hypervisor has none for this guest. */
  setLapic(page: Uint8Array): Promise<void>;
  /**
   * Where exceptions are delivered by a table of the hypervisor's, as those of Xen's PV guests are: that table, in the
   * form of a 64-bit IDT (SDM vol. 3A, 6.14.1). Undefined where the table is in memory, at IDTR.
   */
  trapTable(): Promise<Uint8Array | undefined>;
  /** Pending exceptions, interrupts, NMIs. @throws {UnsupportedError} If the backend does not tell them. */
  events(): Promise<VcpuEvents>;
  /** Sets those given, the others stay. @throws {UnsupportedError} If the backend can't set them. */
  setEvents(events: Partial<VcpuEvents>): Promise<void>;
  /**
   * The FPU, SSE, AVX and further state as an XSAVE area in standard format (SDM vol. 1, 13.4).
   *
   * @throws {UnsupportedError} If the backend has no such state.
   */
  xsave(): Promise<Uint8Array>;
  /** Sets what `xsave` gives. @throws {UnsupportedError} If the backend can't, or refuses the area. */
  setXsave(area: Uint8Array): Promise<void>;
  /**
   * Makes the guest take exception `vector` (0 to 31) when it next runs, with `errorCode` where it has one.
   *
   * @throws {UnsupportedError} If the backend can't.
   */
  injectException(vector: number, errorCode?: number): Promise<void>;
}

/**
 * The guest's console: what it printed, and a way to type.
 *
 * @example It works beside `continue()`, which makes the guest run.
 * ```ts
 * import { flat, open } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * // An echo on COM1, in real mode: wait for DR in LSR (0x3fd), then in al, 0x3f8; out 0x3f8, al; again
 * const code = Uint8Array.of(0xba, 0xfd, 3, 0xec, 0xa8, 1, 0x74, 0xfb, 0xba, 0xf8, 3, 0xec, 0xee, 0xeb, 0xf1);
 * await using vm = await open({ backend: "fake", boot: flat(code) });
 *
 * const stopped = vm.continue({ timeoutMs: 10_000 });
 * await vm.console.send("hello\n");
 * const match = await vm.console.expect(/h(.*)o/, { timeoutMs: 10_000 });
 * assert.equal(match[1], "ell");
 * await vm.pause();
 * assert.equal((await stopped).kind, "pause");
 * ```
 */
export interface Console {
  /** What the guest printed, decoded as UTF-8: at least the newest 1 Mi characters of it. */
  readonly text: string;
  /**
   * Waits until what came since the last match matches. It never resumes the guest: call `continue()` beside. Text
   * that comes while it waits is looked at together with the 64 Ki characters before it.
   *
   * @param pattern A string is looked for as it stands; the flags g and y of a RegExp make no difference.
   * @param options `signal` ends the wait: it is then rejected with the signal's reason.
   * @returns The match.
   * @throws {TimeoutError} After `timeoutMs` (default 30 s), or when the machine is closed; shows the last lines.
   * @throws {InputError} If looking for the pattern holds the thread for a second.
   */
  expect(
    pattern: RegExp | string,
    options?: { timeoutMs?: number; signal?: AbortSignal },
  ): Promise<RegExpMatchArray>;
  /**
   * Types: a string goes as UTF-8. Resolves when the guest's UART has room for all of it or has taken it.
   *
   * @throws {UnsupportedError} If nothing reads it: no UART, or one that is not hvsh's.
   */
  send(text: string | Uint8Array): Promise<void>;
  /** Calls `listener` with what the guest prints from now on, until what is returned is disposed of. */
  onOutput(listener: (bytes: Uint8Array) => void): Disposable;
}

/** A device on the machine. Disposing of it takes it off. */
export interface DeviceHandle extends AsyncDisposable {
  /** The object that was added. */
  readonly device: Device;
  /** The device's name. */
  readonly name: string;
  /** Where it answers: ports, and guest-physical addresses. */
  readonly ranges: readonly (DeviceRange & { readonly space: "port" | "mmio" })[];
  /** Takes it off the machine. Idempotent. */
  remove(): Promise<void>;
}

/** What is done with a device's accesses before they reach it. */
export interface DeviceWrapper {
  /**
   * The guest reads. `next()` lets the device answer into `data`, which may then be changed; without it the device
   * does not see the access, and what is left alone reads as ones. What is thrown stops the guest with a fault.
   *
   * @param offset Bytes from the start of `range`.
   */
  read?(offset: number, data: Uint8Array, next: () => void, range: DeviceRange): void;
  /** The guest writes. `next()` hands `data`, as it is then, to the device; without it the write is dropped. */
  write?(offset: number, data: Uint8Array, next: () => void, range: DeviceRange): void;
}

/** A machine's devices. */
export interface Devices {
  /**
   * Adds a device, to a paused or a running guest.
   *
   * @throws {InputError} If its name or a range is taken, or a range lies over memory.
   * @throws {UnsupportedError} If the backend takes no devices.
   * @throws {StateError} If the machine is closed.
   * @example
   * ```ts
   * import { flat, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * // In real mode: mov dx, 0x777; in al, dx; inc ax; out dx, al; hlt
   * const code = Uint8Array.of(0xba, 0x77, 0x07, 0xec, 0x40, 0xee, 0xf4);
   * await using vm = await open({ backend: "fake", boot: flat(code) });
   *
   * const written: number[] = [];
   * const card = await vm.devices.add({
   *   name: "answer",
   *   ports: { start: 0x777, length: 1 },
   *   read: (_offset, data) => void data.fill(42),
   *   write: (_offset, data) => void written.push(data[0]),
   * });
   * assert.equal((await vm.continue({ timeoutMs: 1000 })).kind, "halt");
   * assert.deepEqual(written, [43]);
   * await card.remove();
   * ```
   */
  add(device: Device): Promise<DeviceHandle>;
  /** Those that are on it now, in the order in which they were added. */
  list(): readonly DeviceHandle[];
  /** The device with this name. */
  get(name: string): DeviceHandle | undefined;
  /**
   * Watches, changes, drops or fails a device's accesses, of a paused or a running guest, until what is returned is
   * disposed of or the device is removed. The newest wrapper is asked first.
   *
   * @throws {InputError} If there is no such device.
   * @example
   * ```ts
   * import { flat, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * // In real mode: mov dx, 0x3f8; mov al, 'a'; out dx, al; mov al, 'b'; out dx, al; cli; hlt
   * const code = Uint8Array.of(0xba, 0xf8, 0x03, 0xb0, 0x61, 0xee, 0xb0, 0x62, 0xee, 0xfa, 0xf4);
   * await using vm = await open({ backend: "fake", boot: flat(code) });
   *
   * using _wrap = vm.devices.wrap("uart0", {
   *   write(offset, data, next) {
   *     if (offset === 0 && data[0] === 0x61) return; // 'a' gets lost
   *     next();
   *   },
   * });
   * await vm.continue();
   * assert.equal(vm.console.text, "b");
   * ```
   */
  wrap(name: string, wrapper: DeviceWrapper): Disposable;
  /**
   * Puts `device` in the place of the one with its name, of a paused or a running guest. If both can, the old one's
   * state is carried over by `save` and `restore`. If the new one can't be put in, the old one stays as it was.
   *
   * @throws {InputError} If there is no such device, it is a PCI function, a range is taken, or the state is refused.
   */
  swap(device: Device): Promise<DeviceHandle>;
}

/**
 * Interrupts from outside. An input is a global system interrupt: 0 to 15 are the ISA interrupts, 16 to 23 the
 * IOAPIC's others.
 */
export interface MachineInterrupts {
  /**
   * Raises the interrupt input `gsi` and lowers it again: one edge.
   *
   * @throws {UnsupportedError} If interrupts can't be raised on this backend.
   * @throws {InputError} If there is no such input.
   */
  pulse(gsi: number): Promise<void>;
  /**
   * Raises (true) or lowers the input `gsi`; it stays so. For level-triggered interrupts.
   *
   * @throws {UnsupportedError} If interrupts can't be raised on this backend.
   * @throws {InputError} If there is no such input.
   */
  set(gsi: number, level: boolean): Promise<void>;
  /** Sends an NMI to one vCPU; vCPU 0 by default. @throws {UnsupportedError} If NMIs can't be raised here. */
  nmi(vcpu?: number): Promise<void>;
}

/** The kind of instruction that `stepTo` looks for. */
export type StepTarget = "call" | "return" | "jump" | "system";

/** How `step` goes. */
export interface StepRequest {
  /** How many instructions; 1 by default. */
  readonly count?: number;
  /**
   * Which vCPU; the one that stopped last by default. Of several each does `count` instructions, by turns of a few, while
   * the rest stand still; `each` is for one alone.
   */
  readonly vcpu?: number | readonly number[];
  /** Whether pending interrupts are taken; false by default, as gdb users expect. */
  readonly interrupts?: boolean;
  /**
   * What the other vCPUs do meanwhile: "hold" (the default), they stand still; "run", they run, a millisecond at least.
   * One that stops ends the steps, or if they are done, is told by the next run. Where a watchpoint goes by steps, and
   * while a breakpoint is stepped off, they stand still all the same.
   */
  readonly others?: "hold" | "run";
  /**
   * Called after each instruction with the registers; `false` ends the steps. One that throws, or does not return within
   * 2 s, is a `fault` stop. Registers that are kept have their general ones for ever, of the rest those that were read.
   */
  readonly each?: (registers: Registers) => boolean | void;
}

/** A time limit. */
export interface RunLimit {
  /** Milliseconds until a `timeout` stop. */
  readonly timeoutMs?: number;
}

/** A guest under the debugger. Disposing of it closes it. */
export interface Machine extends AsyncDisposable {
  /** Through which hypervisor it is held. */
  readonly backend: BackendName;
  /** What can be done with it on this backend and host, by name. */
  readonly capabilities: Capabilities;
  /** Its vCPUs, by index. */
  readonly vcpus: readonly Vcpu[];
  /** Guest-physical memory. */
  readonly memory: PhysicalMemory;
  /** Breakpoints, watchpoints and breaks on accesses. */
  readonly breakpoints: Breakpoints;
  /** The devices that answer its port and MMIO accesses. */
  readonly devices: Devices;
  /** What the guest prints, and typing into it: COM1 of the default devices. */
  readonly console: Console;
  /** Interrupts and NMIs from outside. */
  readonly interrupts: MachineInterrupts;
  /** Going back in a recorded run. */
  readonly history: MachineHistory;
  /** The newest port, MMIO and MSR accesses that left the guest, and counts of all exits. */
  readonly trace: Trace;
  /** "running" from `continue()`, `step()` and their like until their stop. */
  readonly state: "paused" | "running" | "closed";
  /** The newest stop; undefined before the first. */
  readonly lastStop: Stop | undefined;
  /**
   * Lets the guest run until it stops. Every stop, `timeout` included, leaves all vCPUs paused.
   *
   * @throws {StateError} If it runs already or is closed.
   * @throws {HostError} If the hypervisor refuses.
   */
  continue(limit?: RunLimit): Promise<Stop>;
  /**
   * Runs a number of instructions, one if none is given. Another reason may stop it before. Breakpoints on the way
   * stop; the one it stands at does not.
   *
   * @throws {StateError} If the guest runs or is closed.
   * @example
   * ```ts
   * import { flat, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * const code = Uint8Array.of(0x40, 0x40, 0x40, 0xf4); // inc ax, three times; hlt
   * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
   *
   * const stop = await vm.step();
   * assert.deepEqual([stop.kind, stop.rip, stop.registers.rax], ["step", 0x1001n, 1n]);
   *
   * const seen: bigint[] = [];
   * await vm.step({ count: 2, each: ({ rip }) => void seen.push(rip) });
   * assert.deepEqual(seen, [0x1002n, 0x1003n]);
   * ```
   */
  step(request?: number | StepRequest): Promise<Stop>;
  /**
   * One instruction, or `count`, but a call (or REP, or software interrupt) as one.
   *
   * @throws {StateError} As `step`. @throws {InputError} If `count` is no whole number from 1.
   */
  stepOver(options?: { count?: number; vcpu?: number; interrupts?: boolean } & RunLimit): Promise<Stop>;
  /** Until the present function has returned, found by its RET. @throws {StateError} As `step`. */
  stepOut(options?: { vcpu?: number } & RunLimit): Promise<Stop>;
  /**
   * Steps until the next instruction is of a kind: a `step` stop before it, unless something else stops earlier. At
   * least one instruction is run.
   *
   * @param kind "call" and "return" (IRET too) of functions, "jump" (conditional ones too), or "system": INT n, SYSCALL,
   * SYSENTER, VMCALL and their like.
   * @param options `into` follows calls and software interrupts, which are one step otherwise.
   * @throws {StateError} As `step`. @throws {InputError} If there is no such kind.
   * @example
   * ```ts
   * import { flat, open } from "hvsh";
   * import assert from "node:assert/strict";
   *
   * const code = Uint8Array.of(0x40, 0x40, 0xe9, 0, 0, 0xf4); // inc ax, twice; jmp to what follows; hlt
   * await using vm = await open({ backend: "fake", boot: flat(code, { at: 0x1000 }) });
   * assert.equal((await vm.stepTo("jump")).rip, 0x1002n);
   * ```
   */
  stepTo(
    kind: StepTarget,
    options?: { vcpu?: number; interrupts?: boolean; into?: boolean } & RunLimit,
  ): Promise<Stop>;
  /**
   * Until one vCPU reaches `address`: a `step` stop, unless something else stops before.
   *
   * @throws {StateError} If the guest runs or is closed.
   */
  runUntil(address: Gva | Gpa | BareAddress, options?: { vcpu?: number } & RunLimit): Promise<Stop>;
  /**
   * Stops a running guest; resolves with the stop (at once, with the last one, if it stands still). The pending
   * `continue()` resolves with the same stop.
   *
   * @throws {StateError} If the machine is closed.
   */
  pause(): Promise<Stop>;
  /** Every stop from now on, until the machine is closed; the newest 1024 wait to be taken. */
  stops(): AsyncIterableIterator<Stop>;
  /**
   * Back to power-on: vCPUs, devices, interrupt controllers, and the boot image loaded anew. Other memory stays.
   *
   * @throws {StateError} If the guest runs or is closed.
   * @throws {UnsupportedError} If the backend can't.
   */
  reset(): Promise<void>;
  /** Makes sure that a capability is usable. @throws {UnsupportedError} If not; carries reason and remedy. */
  require(name: CapabilityName | string): void;
  /** Disposal leaves the guest be. @throws {UnsupportedError} If it can't outlive this process. */
  keep(): void;
  /** Ends it: breakpoints out, devices detached, guest destroyed or detached from. Idempotent. */
  close(): Promise<void>;
}
