/** A recording of the guest that a backend can go to and fro in. Positions count instructions from its start. */
export interface BackendHistory {
  /** How many instructions have been done. */
  readonly position: number;
  /** The last position there is. */
  readonly end: number;
  /** Nothing runs past this one: `end`, unless set to less. */
  limit: number;
  /** The newest kept state at or before a position; 0 if there is none. */
  keptBefore(position: number): number;
  /**
   * Puts the guest where it stood after so many instructions.
   *
   * @param goOn Asked now and then; false ends the way there, wherever the guest is.
   * @throws {HvshError} If it can't be done.
   */
  seek(position: number, goOn: () => boolean): Promise<void>;
}
