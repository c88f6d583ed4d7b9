import type { AccessSpace, Breakpoint } from "./breakpoint.ts";
import type { Registers } from "./registers.ts";
import type { Vcpu } from "./machine.ts";

/** Why the machine stands still, without the vCPU that reported it. */
export type StopCause =
  /** An execute breakpoint, or a data watchpoint with the linear address that was touched. */
  | { readonly kind: "breakpoint"; readonly breakpoint: Breakpoint }
  | {
    readonly kind: "watchpoint";
    /** The watchpoint. */
    readonly breakpoint: Breakpoint;
    /** Linear (or, for a physical watchpoint, guest-physical) address of the watched bytes. */
    readonly address: bigint;
    /** The watched bytes before the access, where they can be known. */
    readonly before?: Uint8Array;
    /** The watched bytes behind it, where they can be known. */
    readonly after?: Uint8Array;
  }
  /** The steps that were asked for are done. */
  | { readonly kind: "step" }
  /** HLT that nothing can wake. */
  | { readonly kind: "halt" }
  /** `pause()` was called. */
  | { readonly kind: "pause" }
  /** `timeoutMs` went by. */
  | { readonly kind: "timeout" }
  /** The guest is over, or asks to be reset. */
  | {
    readonly kind: "shutdown";
    /** What it asked for; "triple-fault" is the processor's own (SDM vol. 3A, 6.15, interrupt 8). */
    readonly reason: "triple-fault" | "poweroff" | "reset" | "crash";
    /** What the hypervisor adds in words. */
    readonly detail?: string;
  }
  /** The guest wrote to the debug-exit device; `code` is (value << 1) | 1, as QEMU's exit status. */
  | { readonly kind: "exit"; readonly code: number }
  /**
   * A break on an access: it has been done, RIP stands behind it (or at the REP instruction that goes on). But one to a
   * descriptor table's register is done when the guest goes on, and RIP stands at it.
   */
  | {
    readonly kind: "access";
    /** Whose address `address` is. */
    readonly space: AccessSpace;
    /** As in `AccessHit`. */
    readonly address: bigint;
    /** Whether it was OUT, WRMSR, a store, or another write. */
    readonly write: boolean;
    /** What was read or written, little-endian. */
    readonly data: Uint8Array;
    /** The value before, where it is told: of control registers, and of MSRs that are only reported. */
    readonly before?: Uint8Array;
    /** The access break that stopped. */
    readonly breakpoint?: Breakpoint;
  }
  /**
   * Emulation failure, failed entry, a device or a condition that threw. `bytes` are the instruction's, if the
   * hypervisor told them; `error` is what was thrown.
   */
  | { readonly kind: "fault"; readonly reason: string; readonly bytes?: Uint8Array; readonly error?: unknown }
  /** The domain, stub or process behind the machine is no more. */
  | { readonly kind: "gone"; readonly reason: string };

/** Every kind a stop can have. */
export type StopKind = StopCause["kind"];

/** Why and where the machine stands still. All vCPUs are paused. */
export type Stop = StopCause & {
  /** The vCPU that reported it. */
  readonly vcpu: Vcpu;
  /** Its registers at the stop. */
  readonly registers: Registers;
  /** Its RIP: an offset in CS, which in real mode is not the linear address. */
  readonly rip: bigint;
};
