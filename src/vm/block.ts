/** What a disk device stores its bytes in: a host's file, an overlay, memory. Synchronous, as devices are. */

/** Bytes of a sector: what every size and offset here is a multiple of. */
export const SECTOR_BYTES = 512;

/**
 * What kept a transfer from happening.
 *
 * - `unreadable`: the host gave an error for reading
 * - `unwritable`: the host gave an error for writing
 * - `read-only`: it was not opened for writing
 * - `full`: no room is left where it lies
 * - `gone`: it was removed or replaced while in use
 * - `shrunk`: it became smaller than it was
 * - `range`: the transfer lies outside of it
 * - `closed`: it was closed
 */
export type BlockFaultKind =
  | "unreadable"
  | "unwritable"
  | "read-only"
  | "full"
  | "gone"
  | "shrunk"
  | "range"
  | "closed";

/** Why a transfer failed: what the guest is told follows from `kind`, what the user is told stands in the rest. */
export interface BlockFault {
  /** What kind of failure: the device makes the guest's error code of it. */
  readonly kind: BlockFaultKind;
  /** One sentence: what happened, with the name of the file. */
  readonly message: string;
  /** One sentence: what the user can do. */
  readonly remedy: string;
}

/**
 * A store of sectors. Transfers give `undefined` when they are done, else why they are not: the guest sees that
 * as an error of its disk, so nothing is thrown. A transfer that fails may have been done in part.
 *
 * @example
 * ```ts
 * import type { BlockBacking } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const zeros: BlockBacking = {
 *   name: "zeros",
 *   size: 1 << 20,
 *   readOnly: true,
 *   read: (_at, into) => void into.fill(0),
 *   write: () => ({ kind: "read-only", message: "zeros can't be written", remedy: "write elsewhere" }),
 *   flush: () => undefined,
 * };
 *
 * assert.equal(zeros.write(0, new Uint8Array(512))?.kind, "read-only");
 * ```
 */
export interface BlockBacking {
  /** What it is called in messages: usually the file's path. */
  readonly name: string;
  /** Bytes, a multiple of `SECTOR_BYTES`; stays the same for its whole life. */
  readonly size: number;
  /** Whether every write fails. */
  readonly readOnly: boolean;
  /** Fills `into` with the bytes from `at`; both are multiples of a sector. */
  read(at: number, into: Uint8Array): BlockFault | undefined;
  /** The same into several pieces, one behind the other, whatever their lengths; left out where it is no faster. */
  readv?(at: number, pieces: readonly Uint8Array[]): BlockFault | undefined;
  /** Stores `bytes` from `at`; both are multiples of a sector. */
  write(at: number, bytes: Uint8Array): BlockFault | undefined;
  /**
   * The bytes from `at` are not needed any more: they read as zeros, and take no room where that can be. Both are
   * multiples of a sector. Left out where it can't be done for less than writing zeros costs.
   */
  discard?(at: number, length: number): BlockFault | undefined;
  /** Takes what was written to stable storage, as far as there is one. */
  flush(): BlockFault | undefined;
}

/** The fault of a transfer that is not inside `backing`, if it is not. */
export function outside(
  backing: { readonly name: string; readonly size: number },
  at: number,
  length: number,
): BlockFault | undefined {
  if (at >= 0 && at + length <= backing.size) return undefined;
  return {
    kind: "range",
    message: `${backing.name} has no bytes ${at} to ${at + length - 1}: it has ${backing.size}`,
    remedy: "the guest must stay inside its disk",
  };
}
