import type { Traps } from "../vm/backend.ts";
import type { VmExit } from "../vm/exit.ts";

/** What a vCPU stopped for. */
export interface VcpuEvent {
  readonly vcpu: number;
  readonly exit: VmExit;
}

/** The parts of a step, for a domain with one vCPU, which is armed to be stepped and not paused. */
export interface QuickSteps {
  /** Lets the vCPU go on with its next instruction once `tell` is called. It is done when this returns. */
  release(vcpu: number): void;
  /** Has it notice; once too often is harmless. */
  tell(): void;
  /** As `StopStrategy.wait`. */
  wait(ms: number): boolean;
  /** What the vCPU stopped for, and holds it; undefined where it takes a pause to tell. It is taken when this returns. */
  take(vcpu: number): VmExit | undefined;
  /** After one of these was ended in its middle. */
  mend(): void;
}

/** A way to stop and step the vCPUs of a domain; which one works is found by probing. */
export interface StopStrategy {
  /** Waits at most `ms` milliseconds until a vCPU has stopped; false if none did. For a domain that is let go. */
  wait(ms: number): boolean;
  /**
   * The next access of a vCPU's, which alone stands still for it; undefined if none waits. Pauses nothing. It is taken
   * when this returns.
   */
  access?(): VcpuEvent | undefined;
  /** Takes the answer to a vCPU's last access; gives the next one of the same instruction. */
  advance?(vcpu: number): VmExit | undefined;
  /** Lets a vCPU go on behind its access, in a domain that is let go. */
  answer?(vcpu: number): void;
  /** After `wait`, `access`, `advance` or `answer` was ended in its middle. */
  mend?(): void;
  /** Which vCPUs have stopped since it was last asked. The domain is paused. Waits for nothing. */
  gather(): VcpuEvent[];
  /**
   * Whether a vCPU stands where it can't be looked at: on the way into what holds it, or out of it. The domain is paused;
   * let it go for a moment.
   */
  unsettled?(): boolean;
  /**
   * Makes every vCPU that it holds go on once the domain does, but for those in `kept`, whose stop nobody was told yet.
   * The domain is paused.
   */
  release(kept: ReadonlySet<number>): void;
  /** Looks whether the guest undid what the strategy needs, before it is let go for long. The domain is paused. */
  refresh(): void;
  /**
   * Makes a vCPU stop behind its next instruction, or no longer. The domain is paused.
   *
   * @param execute Whether execute traps stay armed meanwhile.
   */
  setStepping(vcpu: number, on: boolean, execute?: boolean): void;
  /** For steps without a pause between them; left out where there are none. */
  readonly quick?: QuickSteps;
  /** What else shall be reported. The domain is paused. */
  setTraps(traps: Traps): void;
  /**
   * Takes every trace out of the guest, which is paused, and lets go of what is held in this process. Idempotent.
   *
   * @param living False if the domain is gone or being destroyed: then nothing in it may be touched any more.
   */
  close(living: boolean): void;
}
