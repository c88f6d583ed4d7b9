import type { BusClaims } from "./bus.ts";
import type { Capabilities } from "./capabilities.ts";
import type {
  CausePlace,
  DoorbellPlace,
  InterruptAcknowledge,
  InterruptCauses,
  InterruptLine,
} from "./device.ts";
import type { ReportSpace, VmExit } from "./exit.ts";
import type { BackendHistory } from "./history.ts";
import type { HypervisorMonitor } from "./hypervisor.ts";
import type { Picture } from "./picture.ts";
import type { Registers, RegisterValues } from "./registers.ts";

/**
 * The backends hvsh knows by name; `hosts()` tells which can be used. "xen" and "gdb" attach to guests of others,
 * "fake" interprets instructions in this process.
 */
export type BackendName = "kvm" | "xen-pv" | "xen-pvh" | "xen-hvm" | "xen" | "qemu" | "gdb" | "fake";

/** A value, or a promise of it: local backends answer at once, remote ones later. */
export type MaybePromise<T> = T | Promise<T>;

/** Read-only memory that is there from the start, such as a firmware image. */
export interface Rom {
  /** What listings call it: "bios". */
  readonly name: string;
  /** Guest-physical address of its first byte; a multiple of 4096. */
  readonly at: bigint;
  /** Its contents; padded with zeros to a multiple of 4096. */
  readonly bytes: Uint8Array;
  /** Whether it lies over RAM, which `BackendMemory.shadow` can uncover. Otherwise it must be clear of RAM. */
  readonly shadow?: boolean;
  /** Whether it is there only where a device puts it, by `BackendMemory.shadow`: a flash chip's array. */
  readonly lent?: boolean;
}

/**
 * What a guest meets where RAM lies under ROM or a bus (a PC's attributes of the memory below 1 MiB): the RAM, the
 * RAM for reads only, or the ROM over it; without a ROM there, nothing. "below" is what it meets 1 MiB below, as with
 * the A20 gate closed.
 */
export type Shadow = "ram" | "read-only" | "rom" | "below";

/** What interrupt controllers and timer are like when a guest starts. */
export interface ChipsAtStart {
  /** Whether the 8259 pair is initialised, with vectors 0x08 and 0x70; nothing masked but what `pic` says. */
  readonly initialised: boolean;
  /** Whether the timer's channel 0 ticks 18.2 times a second (mode 2, as SeaBIOS has it). */
  readonly ticking: boolean;
  /** What a BIOS has masked, and made level-triggered, a bit for each input: the first 8259, the second. */
  readonly pic?: {
    readonly masks: readonly [number, number];
    readonly level: readonly [number, number];
  };
}

/** What every backend needs to know to make a machine. */
export interface BackendOptions {
  /** RAM in bytes, a multiple of 4096. It starts at 0; what exceeds 3 GiB continues at 4 GiB. */
  readonly memory: number;
  /** Number of vCPUs. */
  readonly cpus: number;
  /** Interrupt controllers (8259 pair, IOAPIC, LAPICs) in the hypervisor. */
  readonly irqchip: boolean;
  /** 8254 timer in the hypervisor; needs `irqchip`. */
  readonly pit: boolean;
  /** How a BIOS leaves the hypervisor's chips, for a guest that has none; left out: they are as at power-on. */
  readonly chips?: ChipsAtStart;
  /** The processor a guest sees: "host", or "host,-avx2" to leave features out; the host's when left out. */
  readonly cpu?: string;
  /** Read-only memory; none by default. */
  readonly roms?: readonly Rom[];
}

/** A stretch of guest-physical memory. */
export interface MemoryRegion {
  /** What listings call it: "ram", "ram-high" (from 4 GiB), a ROM's name. */
  readonly name: string;
  /** Guest-physical address of its first byte, a multiple of 4096. */
  readonly start: bigint;
  /** Bytes, a multiple of 4096. */
  readonly size: bigint;
  /** Whether the guest can't write it. The debugger can. */
  readonly readOnly: boolean;
}

/** One guest, held through one hypervisor. */
export interface Backend {
  readonly name: BackendName;
  readonly capabilities: Capabilities;
  readonly vcpus: readonly BackendVcpu[];
  readonly memory: BackendMemory;
  /** Breakpoints that the other side keeps by itself, as many as wanted; where there are such. */
  readonly breakpoints?: RemoteBreakpoints;
  /** Console and debug log of a guest whose devices are the hypervisor's; undefined where they are ours. */
  readonly console?: BackendConsole;
  /** What else the hypervisor can be asked for, where it runs the guest by itself. */
  readonly monitor?: HypervisorMonitor;
  /** What the user should be told of the guest, as it was found; left out: nothing. */
  readonly notices?: readonly string[];
  /** The recording that it replays; where it does. */
  readonly history?: BackendHistory;
  /** A picture of the hypervisor's own screen; where it has one that can be had. */
  readonly picture?: () => Promise<Picture>;
  /** Where accesses come to devices only if that was asked for; left out where all come that nobody else answers. */
  readonly claims?: BusClaims;
  /** Where the hypervisor has a PCI bus that devices of ours can be on; left out where it has none, or it is ours. */
  readonly pci?: BackendPci;
  /**
   * Calls `come` when something can be read from the host's descriptor `fd`, in the middle of a time slice, once for all
   * that came; while the guest runs. Left out where nobody can be told before the slice's end.
   */
  readonly readable?: (fd: number, come: () => void) => Disposable;
  /** Where the hypervisor can report what the guest does, beside accesses; left out where it can't. */
  readonly reports?: Reports;
  /** Undefined where interrupts can't be raised from here. */
  readonly interrupts?: Interrupts;
  /** Where vCPUs can run beside the caller; left out where they take turns. */
  readonly parallel?: ParallelVcpus;
  /**
   * Whether an exit may take milliseconds, and tens of them on a busy host: then user code is ended call by call when it
   * takes too long, since a burst of exits takes longer than user code may. Left out: it does not.
   */
  readonly slow?: boolean;
  /**
   * The host's monotonic clock in milliseconds, from any zero; `performance.now()` where it is left out. For what is
   * timed at every exit.
   */
  now?(): number;
  /** Resolves when its vCPUs can run, where they need time to come up. @throws {HvshError} If they don't. */
  ready?(): Promise<void>;
  /** Puts vCPUs, interrupt controllers and timers back to power-on. Memory stays. */
  reset(): MaybePromise<void>;
  /** Makes `close` leave a guest of our own be; left out where it can't outlive this process. */
  keep?(): void;
  /** Lets go of everything: a guest of our own is destroyed, an attached one left as it was. Idempotent. */
  close(): MaybePromise<void>;
}

/** Bus 0 of a hypervisor's own device model, where functions of ours can stand among its own. */
export interface BackendPci {
  /** Whether nobody gives functions their addresses but who opens the guest: no firmware runs in it. */
  readonly configured: boolean;
  /** Slots that others have now. @throws {HvshError} If they can't be asked. */
  taken(): Promise<ReadonlySet<number>>;
  /**
   * Has accesses to the configuration space of a slot's function 0 come here, to port 0xcfc, with what the guest wrote to
   * port 0xcf8 as `before`. @throws {HostError} If the hypervisor refuses.
   */
  claim(slot: number): void;
  /** Takes back what `claim` did. */
  release(slot: number): void;
  /** Where pin 1..4 (INTA#..INTD#) of a slot leads. */
  line(slot: number, pin: number): InterruptLine;
}

/** What a hypervisor reports, as `ReportExit`s, because it was asked to. */
export interface Reports {
  /** Asks for these from now on, and for no others. @throws {HvshError} If one can't be had; the others are as they were. */
  set(wanted: readonly ReportRange[]): MaybePromise<void>;
}

/** Reports of one space, from `start` on, `length` of them. Which of them stop is judged elsewhere: there may be more. */
export interface ReportRange {
  readonly space: ReportSpace;
  readonly start: bigint;
  readonly length: bigint;
}

/** A vCPU that has left the guest, and why. */
export interface Arrival {
  readonly vcpu: BackendVcpu;
  readonly exit: VmExit;
}

/**
 * vCPUs that each have a thread. Between `start` and its arrival a vCPU runs; whatever else is asked of it makes it
 * come back first, by itself, and its arrival is still told by `next`.
 */
export interface ParallelVcpus {
  /**
   * Whether they have threads now. The only vCPU of a machine has one while doorbells hang; else the caller runs it, and
   * `start` does nothing.
   */
  readonly threaded: boolean;
  /** Resolves when the threads are up that there are now. */
  ready(): Promise<void>;
  /** Lets a vCPU run until it leaves for a reason, or is kicked (`slice`). */
  start(vcpu: BackendVcpu): void;
  /**
   * A vCPU that has come back; blocks at most `ms`. Its exit is valid until it is started or stepped again.
   *
   * @returns Undefined if none has.
   */
  next(ms: number): Arrival | undefined;
  /** Resolves as soon as `next` may have something, and after `ms` at the latest; the event loop lives meanwhile. */
  arrival(ms: number): Promise<void>;
  /** Resolves what waits for an `arrival`, as there is something else to look at. */
  wake(): void;
  /** Brings every vCPU back, and returns when none runs: what made them leave waits in `next`. */
  hold(): void;
  /** Places where the guest rings and goes on; left out where there can be none. */
  readonly doorbells?: Doorbells;
}

/** Writes by which the guest tells a device that there is something to do, without waiting until it is done. */
export interface Doorbells {
  /**
   * Hangs one up. While it hangs, such writes are no accesses: nothing but `rung` hears of them.
   *
   * @param rung Called on the main thread, once for all writes since the last time.
   * @returns What takes it down, calling `rung` if it was rung late; undefined if there are too many, or none would be
   * heard in time.
   * @throws {HostError} If the host refuses.
   */
  hang(place: DoorbellPlace, rung: () => void): Disposable | undefined;
  /**
   * Calls what was rung for, and what `Backend.readable` promises; `next` and `arrival` end when there is such.
   *
   * @param again Also for what was rung since the last `next`: those that matter to whoever looks at the guest now.
   * @returns False if none was.
   */
  answer(again?: boolean): boolean;
  /** Takes registers that vCPUs' threads can answer; undefined if there are too many. */
  causes?(place: CausePlace): SharedCauses | undefined;
}

/** Registers that vCPUs' threads can answer. */
export interface SharedCauses extends InterruptCauses {
  /** Whether they do. */
  answered: boolean;
  [Symbol.dispose](): void;
}

/** Execute breakpoints at linear addresses on every vCPU. A hit is a `debug` exit with `remote`. */
export interface RemoteBreakpoints {
  /** @throws {UnsupportedError} If the other side refuses. */
  insert(address: bigint): MaybePromise<void>;
  /** Takes out what `insert` put in. */
  remove(address: bigint): MaybePromise<void>;
}

/** A serial console that the hypervisor has, with its other end here. */
export interface BackendConsole {
  /** Says where the guest's output goes: COM1 and Bochs' port 0xe9, and the firmware's debug port 0x402. */
  connect(print: (bytes: Uint8Array) => void, log: (bytes: Uint8Array) => void): void;
  /** Types; gives how many bytes were taken. */
  type(bytes: Uint8Array): number;
}

/** Interrupt inputs and their kin. */
export interface Interrupts {
  /** Whether the hypervisor has the interrupt controllers. */
  readonly irqchip: boolean;
  /** Whether it has LAPICs, though no irqchip: messages reach them. */
  readonly lapics?: true;
  /**
   * Input `gsi`. Without an irqchip, and without a device that is one, a raised line is an interrupt request with
   * vector `gsi` mapped as a BIOS sets the 8259 up: 0..7 at 0x08, 8..15 at 0x70.
   */
  line(gsi: number): InterruptLine;
  /**
   * Puts an interrupt controller outside of the hypervisor on the first vCPU's INTR, or takes it off again. Only
   * without an irqchip.
   */
  wire?(controller: InterruptAcknowledge | undefined): void;
  /** Whether an interrupt or NMI raised from here waits to be taken; only asked without an irqchip. */
  pending(vcpu: number): boolean;
  /** Sends an NMI. @throws {UnsupportedError} */
  nmi(vcpu: number): MaybePromise<void>;
  /**
   * Sends a message-signalled interrupt to the LAPICs: `address` 0xfeexxxxx and `data` as SDM vol. 3A, 11.11 has them.
   * What no LAPIC takes is lost. Only with an irqchip, or with `lapics`.
   */
  message?(address: number, data: number): void;
  /** Whether the hypervisor masks such a message, and not who sends it; left out: it never does. */
  masks?(address: number, data: number): boolean;
  /** Makes the vCPU take the external interrupt `vector` as soon as it can. @throws {UnsupportedError} */
  inject(vcpu: number, vector: number): MaybePromise<void>;
}

/** Guest-physical memory, as the guest has it (breakpoints are hidden a layer above). */
export interface BackendMemory {
  /** Sorted, never overlapping. */
  readonly regions: readonly MemoryRegion[];
  /** Fills `into` from `at`. @throws {FaultError} If a byte of the range is not memory. */
  read(at: bigint, into: Uint8Array): MaybePromise<void>;
  /** Writes `bytes`, read-only regions included. @throws {FaultError} If a byte of the range is not memory. */
  write(at: bigint, bytes: Uint8Array): MaybePromise<void>;
  /** As `view`, of RAM that the guest can write, where it lies in one region; undefined for anything else. */
  window?(at: bigint, length: number): Uint8Array | undefined;
  /** A live view of one region's bytes; dead after `close`. @throws {FaultError} */
  view?(at: bigint, length: number): Uint8Array;
  /** First place in [from, to) where `pattern` lies wholly, or undefined. */
  search?(pattern: Uint8Array, from: bigint, to: bigint): MaybePromise<bigint | undefined>;
  /**
   * Makes the 4 KiB pages that overlap the range read-only for the guest, or writable again. A guest's write
   * to them is a `mmio-write` exit and has no effect until the debugger does it.
   */
  protect?(at: bigint, length: number, readOnly: boolean): MaybePromise<void>;
  /**
   * Writes `bytes` as the guest or a device of its own would: read-only memory stays as it is. Pages that
   * `protect` made read-only are written. @throws {FaultError} If a byte of the range is not memory.
   */
  deposit?(at: bigint, bytes: Uint8Array): MaybePromise<void>;
  /**
   * Gives the host the memory of whole 4 KiB pages back: they read as zeros, and take memory again when they are
   * written. What the guest can't write stays. @throws {FaultError} If a byte of the range is not memory.
   */
  discard?(at: bigint, length: number): void;
  /**
   * Changes what the guest meets in 4 KiB pages of RAM below the hole; `regions`, `read` and `write` follow. RAM
   * that is hidden keeps its bytes. A write to what is read-only is a `mmio-write` exit.
   */
  shadow?(at: bigint, length: number, how: Shadow): MaybePromise<void>;
  /**
   * Told before a breakpoint's `code` is written over `original`, and with undefined once that is written back: a guest
   * that outlives the debugger is put right by it, whatever ends the program. It may be lifted for a moment meanwhile.
   */
  patched?(at: bigint, code: Uint8Array, original: Uint8Array | undefined): void;
  /** Writes `bytes` into RAM, whatever lies over it. @throws {FaultError} If there is none. */
  hidden?(at: bigint, bytes: Uint8Array): void;
}

/** One slot of the debug registers. */
export interface HardwareTrap {
  /** Linear address; for data aligned to `size`. */
  readonly address: bigint;
  readonly access: "execute" | "write" | "access";
  /** Bytes: 1, 2, 4 or 8; 1 for execute. */
  readonly size: 1 | 2 | 4 | 8;
}

/** What a vCPU shall report to the debugger while it runs. */
export interface Traps {
  /** Up to four, slot by slot (DR0..DR3). */
  readonly hardware: readonly (HardwareTrap | undefined)[];
  /** Report INT3 instead of delivering #BP. */
  readonly int3: boolean;
  /** OUT to TRAP_PORT is a breakpoint: for backends where a port's accesses come only if they are asked for. */
  readonly out?: boolean;
}

/** How one instruction is stepped. */
export interface StepOptions {
  /** Whether a pending interrupt may be taken. If not, and the backend can't hold it back, it may be all the same. */
  readonly interrupts?: boolean;
  /** Whether execute traps stay armed (data traps always do). Left out: they don't. */
  readonly execute?: boolean;
  /** Whether a vCPU that sleeps is left asleep at its slice's end, as if it had done a step; for the run loop. */
  readonly inTurn?: boolean;
}

/** Pending and injected exceptions, interrupts, NMIs, and what shadows them (KVM_GET_VCPU_EVENTS). */
export interface VcpuEvents {
  /**
   * The exception being delivered, or with `pending` one that has been raised and may still be turned into
   * another: its vector and the error code it pushes, if it has one. Undefined: none.
   */
  readonly exception?: { readonly vector: number; readonly errorCode?: number; readonly pending: boolean };
  /** The interrupt being delivered; `soft` if INT n raised it. Undefined: none. */
  readonly interrupt?: { readonly vector: number; readonly soft: boolean };
  /** What holds interrupts back for one instruction: bit 0 MOV SS, bit 1 STI (SDM vol. 3A, 6.8.3). */
  readonly shadow: number;
  /** Whether an NMI waits to be taken. */
  readonly nmiPending: boolean;
  /** Whether an NMI is being delivered. */
  readonly nmiInjected: boolean;
  /** Whether NMIs are blocked until IRET. */
  readonly nmiMasked: boolean;
  /** Whether the vCPU is in system management mode. */
  readonly smm: boolean;
}

/** What CPUID gives for one leaf (EAX) and subleaf (ECX): four registers of 32 bits. */
export interface CpuidEntry {
  /** The leaf. */
  readonly function: number;
  /** The subleaf; 0 for a leaf without. */
  readonly index: number;
  /** EAX of the answer. */
  readonly eax: number;
  /** EBX of the answer. */
  readonly ebx: number;
  /** ECX of the answer. */
  readonly ecx: number;
  /** EDX of the answer. */
  readonly edx: number;
}

/** How far `BackendVcpu.steps` came. */
export interface StepRun {
  /** Instructions that were done. */
  readonly done: number;
  /** What came in the middle of the next one, as `step` gives it. */
  readonly exit?: VmExit;
}

/** Steps in a row on a slow backend, under one limit on the user code that looks at them. */
export interface StepBurst {
  /** Steps done, and shown, since `BackendVcpu.burst` gave it. */
  readonly done: number;
  /**
   * Steps up to `count` times, until `watch` gives false for the registers after one, or undefined: then it is given the
   * same first the next time. It may be ended anywhere, as `guarded` does: `mend` is called then.
   *
   * @returns What came in the middle of a step, as `step` gives it; else undefined.
   */
  run(count: number, watch: (registers: Registers) => boolean | undefined): VmExit | undefined;
  /** Puts right what was ended in the middle, so that the same can be asked for again. Harmless else. */
  mend(): void;
}

/** Accesses in a row on a slow backend, under one limit on the devices that answer them. */
export interface AccessRow {
  /**
   * Lets the vCPU go on with the answer to its last access, and gives the next one if it comes within a time slice;
   * undefined: it is for `run` to tell what happened. It may be ended anywhere, as `guarded` does: `mend` is called then.
   */
  next(): VmExit | undefined;
  /** Puts right what was ended in the middle, so that `run` may go on from there. Harmless else. */
  mend(): void;
}

/** One vCPU. Everything here is for a machine that is not running, but for `kick`. */
export interface BackendVcpu {
  readonly index: number;
  /**
   * Runs until the guest leaves for a reason, or the time slice is over (`{kind: "slice"}`). The answer to the
   * last access exit is taken from its `data`.
   *
   * @throws {HostError} If the hypervisor refuses.
   */
  run(): MaybePromise<VmExit>;
  /**
   * Runs one instruction; `{kind: "debug"}` with BS in `dr6` when it is done. Any other exit means that the
   * instruction is not finished: answer it and call `step` again. `slice`: nothing happened, call again.
   */
  step(options?: StepOptions): MaybePromise<VmExit>;
  /**
   * Runs up to `count` instructions in one go, by the shortest way: for as long as each is done by one entry, and `watch`
   * gives true for the registers after it. Left out where `step` is no slower.
   */
  steps?(count: number, options: StepOptions, watch?: (registers: Registers) => boolean): StepRun;
  /**
   * Makes ready for steps in a row by the shortest way, where `steps` can't be had since what is called takes long.
   * Undefined if the next instruction has to be left to `step`. Left out where there is no shorter way at all.
   */
  burst?(options: StepOptions): StepBurst | undefined;
  /** For accesses one behind the other, where setting a limit takes longer than an access. Left out where it does not. */
  readonly row?: AccessRow;
  /**
   * Finishes an access instruction that `run` or `step` left half done, without running another one. Gives
   * the next exit of that same instruction if it has more (answer it and call again), undefined when done or
   * when nothing was in flight.
   */
  settle(): MaybePromise<VmExit | undefined>;
  /** Makes a `run` that goes on in another thread, or the next one, return `slice`. */
  kick(): void;
  /** Sets what is reported. Takes effect at the next `run`. @throws {UnsupportedError} */
  setTraps(traps: Traps): MaybePromise<void>;
  /** RIP as of the last exit, not settled: cheap. */
  readonly rip: bigint;
  /** Whether the vCPU sleeps in the hypervisor (HLT, wait for SIPI), and whether an interrupt may wake it. */
  idle(): MaybePromise<"no" | "halted" | "halted-forever" | "wait-for-sipi">;
  /** A snapshot; settles first. */
  registers(): MaybePromise<Registers>;
  /** Sets those given, others stay; settles first. @throws {RangeError} If a value does not fit its register. */
  setRegisters(values: RegisterValues): MaybePromise<void>;
  /** Indices of the MSRs this backend can show. */
  msrs(): MaybePromise<readonly number[]>;
  /** @throws {UnsupportedError} If there is no such MSR here. */
  readMsr(index: number): MaybePromise<bigint>;
  /** @throws {UnsupportedError} If there is no such MSR here, or it refuses the value. */
  writeMsr(index: number, value: bigint): MaybePromise<void>;
  /** The CPUID leaves that its guest sees; left out where the backend can't tell. */
  cpuid?(): MaybePromise<readonly CpuidEntry[]>;
  /** The XSAVE area in standard format (SDM vol. 1, 13.4). @throws {UnsupportedError} */
  xsave(): MaybePromise<Uint8Array>;
  /** @throws {UnsupportedError} */
  setXsave(area: Uint8Array): MaybePromise<void>;
  /** The local APIC's register page, 1024 bytes. @throws {UnsupportedError} */
  lapic(): MaybePromise<Uint8Array>;
  /** @throws {UnsupportedError} */
  setLapic(page: Uint8Array): MaybePromise<void>;
  /** Where exceptions are the hypervisor's to deliver by a table of its own: that table, see `Vcpu.trapTable`. */
  trapTable?(): MaybePromise<Uint8Array>;
  /** @throws {UnsupportedError} */
  events(): MaybePromise<VcpuEvents>;
  /** @throws {UnsupportedError} */
  setEvents(events: Partial<VcpuEvents>): MaybePromise<void>;
  /** Makes the guest take exception `vector` at the next entry. @throws {UnsupportedError} */
  injectException(vector: number, errorCode?: number): MaybePromise<void>;
  /** Ask for `msr-read` and `msr-write` exits of these MSRs; none by default. @throws {UnsupportedError} */
  trapMsrs(indices: readonly number[]): MaybePromise<void>;
}
