import type { RunLimit } from "./machine.ts";
import type { Stop } from "./stop.ts";

/** A recording of the guest that a backend can go to and fro in. Positions count instructions since power-on. */
export interface BackendHistory {
  /** The first position there is: where the guest stood when it was opened. */
  readonly start: number;
  /** How many instructions have been done. */
  readonly position: number;
  /** The last position there is. */
  readonly end: number;
  /** Nothing runs past this one: `end`, unless set to less. */
  limit: number;
  /** The newest kept state at or before a position, which is not before the start. */
  keptBefore(position: number): number;
  /**
   * Puts the guest where it stood after so many instructions.
   *
   * @param goOn Asked now and then; false ends the way there, wherever the guest is.
   * @throws {HvshError} If it can't be done.
   */
  seek(position: number, goOn: () => boolean): Promise<void>;
}

/** The recorded run that a guest is in: `open({ backend: "qemu", replay })` has one. */
export interface MachineHistory {
  /** Whether there is one; if not, everything else refuses, with the reason. */
  readonly usable: boolean;
  /** How many instructions have been done since power-on. @throws {UnsupportedError} Without a recording. */
  readonly position: number;
  /** The first position: what loaded the guest came before. @throws {UnsupportedError} Without a recording. */
  readonly start: number;
  /** The last position that can be gone to. @throws {UnsupportedError} Without a recording. */
  readonly end: number;
  /** Goes back by so many instructions (1 by default), or to the start. @throws {UnsupportedError} Without a recording. */
  stepBack(count?: number): Promise<Stop>;
  /**
   * Goes to a position, before or behind this one.
   *
   * @throws {InputError} If it is none of the recording.
   * @throws {UnsupportedError} Without a recording.
   */
  goto(position: number): Promise<Stop>;
  /**
   * Goes back to where a breakpoint or watchpoint was met last before here; to the start, with a `step` stop, if none
   * was. A watchpoint's stop is behind the instruction that touched it, as it is forwards. What is passed on the way
   * there and back counts as met: conditions are evaluated, hits counted.
   *
   * @throws {UnsupportedError} Without a recording.
   */
  continueBack(limit?: RunLimit): Promise<Stop>;
}
