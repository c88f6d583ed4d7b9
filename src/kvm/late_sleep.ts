const NONE = -1;

/**
 * The sleep of a HLT that was stepped over. Where KVM emulates instructions, HLT leaves a note, and the end of a step
 * leaves before the note is looked at (Linux, vmx.c, handle_invalid_guest_state: `halt_request`). So the vCPU does not
 * sleep when it should, and falls asleep behind the first instruction that is emulated without a step: in the middle of
 * a handler, with interrupts off, it would never wake. Other KVMs put it to sleep at once.
 */
export class LateSleep {
  /** The low half of RIP before the newest step. */
  from = NONE;
  /** Whether such a note may be left. */
  owed = false;

  /** Whether the newest step was over one byte, as HLT is. @param rip The low half of RIP now. */
  byOne(rip: number): boolean {
    return this.from !== NONE && (this.from + 1) >>> 0 === rip;
  }

  /** Steps are over: the vCPU is about to run. */
  leaveSteps(): void {
    if (this.from !== NONE) this.owed = true;
    this.from = NONE;
  }

  /** RIP was set, or everything was: the last step is no longer what led here. */
  forget(): void {
    this.from = NONE;
  }
}
