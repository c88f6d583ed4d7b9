/**
 * Why a vCPU left the guest, in neutral words. A backend decodes its own exits (kvm_run, ioreq, stop reply)
 * to these, so that devices and debugger do not know which hypervisor runs them.
 *
 * A backend may hand out the same object again: an exit and its `data` are valid until the vCPU's next
 * `run()`, `settle()` or `step()`. Keep a copy of what must live longer.
 */
export type VmExit =
  | PortExit
  | MmioExit
  | MsrExit
  | ReportExit
  | DebugExit
  /** HLT retired and nothing in the backend will wake the vCPU by itself (no in-kernel irqchip). */
  | { readonly kind: "halt" }
  /** Triple fault. */
  | { readonly kind: "shutdown" }
  /** The guest can take an interrupt now, as was asked for. */
  | { readonly kind: "irq-window" }
  /** The host took the vCPU back: end of a time slice, a signal, a kick. Nothing happened in the guest. */
  | { readonly kind: "slice" }
  | FailEntryExit
  | InternalErrorExit
  | SystemEventExit
  /** The guest wrote to the debug-exit port of a hypervisor that has that device itself: the code it makes of it. */
  | { readonly kind: "exit"; readonly code: number }
  /** The domain, stub or process behind the machine is no more. */
  | { readonly kind: "gone"; readonly reason: string }
  /** What a newer hypervisor added: `reason` says which number or name it had. */
  | { readonly kind: "unsupported"; readonly reason: string };

/** IN, OUT, INS, OUTS. */
export interface PortExit {
  readonly kind: "io-in" | "io-out";
  /** Port number, 16 bits. */
  readonly port: number;
  /** Bytes of one access: 1, 2 or 4. */
  readonly size: number;
  /** How many accesses of `size` bytes `data` holds (more than 1 for string I/O). */
  readonly count: number;
  /** `size * count` bytes, little-endian: to read for io-out, to fill in for io-in. */
  readonly data: Uint8Array;
  /** A write of the guest's that this access goes by, and that the hypervisor told nobody of. */
  readonly before?: { readonly port: number; readonly data: Uint8Array };
}

/** An access to a guest-physical address without memory behind it. */
export interface MmioExit {
  readonly kind: "mmio-read" | "mmio-write";
  /** Guest-physical address. */
  readonly address: bigint;
  /** 1 to 8 bytes, little-endian: to read for a write, to fill in for a read. */
  readonly data: Uint8Array;
}

/** RDMSR or WRMSR of an MSR that the backend was asked to hand out or does not know. */
export interface MsrExit {
  readonly kind: "msr-read" | "msr-write";
  /** The MSR's number, 32 bits (ECX). */
  readonly index: number;
  /** Why it came here: the hypervisor does not know it, refuses it, or a filter asked for it. */
  readonly reason: "unknown" | "invalid" | "filter";
  /** 8 bytes, little-endian: to read for a write, to fill in for a read. */
  readonly data: Uint8Array;
  /** Answers with #GP instead of a value. */
  fail(): void;
}

/**
 * What `Backend.reports` was asked for: something that the guest does, and that the hypervisor sees to by itself once the
 * vCPU goes on. There is nothing to answer.
 */
export interface ReportExit {
  readonly kind: "report";
  /** What was done. */
  readonly space: ReportSpace;
  /**
   * `cr`: number of the control register, `XCR0` for that; `msr`: number of the MSR; `cpuid`: the leaf; `descriptor`:
   * which register, an index into `DESCRIPTOR_REGISTERS`; `request`: 0.
   */
  readonly address: number;
  /** Whether it is a write; CPUID and requests are none. */
  readonly write: boolean;
  /** Little-endian. `cr`, `msr`: the new value, 8 bytes; `cpuid`: EAX, EBX, ECX, EDX of the answer; else empty. */
  readonly data: Uint8Array;
  /** `cr`, `msr`: the value before, 8 bytes, little-endian. */
  readonly before?: Uint8Array;
  /** Whether the instruction has been done, and RIP stands behind it; if not, it is done when the vCPU goes on. */
  readonly done: boolean;
}

/** Kinds of what a hypervisor can report without being asked for an answer. */
export type ReportSpace = "cr" | "msr" | "cpuid" | "descriptor" | "request";

/** The number that stands for XCR0 among the control registers, which go up to CR15 (SDM vol. 2B, MOV CR). */
export const XCR0 = 16;

/** Registers that hold where a descriptor table, or a descriptor, lies (SDM vol. 3A, 2.4). */
export const DESCRIPTOR_REGISTERS = ["idtr", "gdtr", "ldtr", "tr"] as const;

/** A debug exception that was the debugger's: a finished single step, a breakpoint or a watchpoint. */
export interface DebugExit {
  readonly kind: "debug";
  /** Vector: 1 for #DB, 3 for #BP. */
  readonly exception: number;
  /** DR6 of this event (BS is bit 14, B0..B3 are bits 0..3). */
  readonly dr6: bigint;
  /** B0..B3 of `dr6` as a number, where the backend has it at hand: steps look at it thousands of times. */
  readonly hits?: number;
  /** Whether it was one of the breakpoints that the hypervisor keeps by itself (`Backend.breakpoints`). */
  readonly remote?: boolean;
  /** Linear address of the instruction that is reported (for #BP: of the INT3 itself). */
  readonly pc: bigint;
}

/** The hardware refused to enter the guest. */
export interface FailEntryExit {
  readonly kind: "fail-entry";
  /** The hardware's reason number. */
  readonly reason: bigint;
}

/** The hypervisor could not go on, in most cases an instruction that it can't emulate. */
export interface InternalErrorExit {
  readonly kind: "internal-error";
  /** The backend's own number (KVM: 1 emulation, 2 simultaneous exceptions, 3 event delivery, 4 unexpected exit). */
  readonly suberror: number;
  /** In words. */
  readonly reason: string;
  /** The instruction's bytes, if the hypervisor told them. */
  readonly bytes?: Uint8Array;
}

/** The guest asked the hypervisor for a reset, a power-off, or reported a crash. */
export interface SystemEventExit {
  readonly kind: "system-event";
  readonly event: "poweroff" | "reset" | "crash" | "other";
  readonly detail: string;
}

/** The exits that are an access to a port, to MMIO or to an MSR, and that devices answer. */
export type AccessExit = PortExit | MmioExit | MsrExit;

/** Whether `exit` is an access. */
export function isAccess(exit: VmExit): exit is AccessExit {
  switch (exit.kind) {
    case "io-in":
    case "io-out":
    case "mmio-read":
    case "mmio-write":
    case "msr-read":
    case "msr-write":
      return true;
    default:
      return false;
  }
}
