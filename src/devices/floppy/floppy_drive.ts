/** A floppy disk drive: a medium, where its head stands, and whether the medium was changed. */
import { type BlockBacking, type BlockFault, SECTOR_BYTES } from "../../vm/block.ts";
import { bits, flag, type Shape } from "../state.ts";
import { type FloppyFormat, floppyFormat } from "./formats.ts";

/** A drive's state. */
export interface FloppyDriveState {
  /** Cylinder under the heads. */
  track: number;
  /** Whether the line DSKCHG is active: until a step with a medium in the drive. */
  changed: boolean;
}

/** What a saved drive must look like. */
export const DRIVE_SHAPE: Shape<FloppyDriveState> = { track: bits(8), changed: flag };

/** Why a sector was not moved: the host's fault; "absent" is a sector of the medium that the image does not have. */
export type SectorFault = BlockFault | "absent";

/** A drive, with or without a medium. */
export class FloppyDrive {
  #medium: BlockBacking | undefined;
  #state: FloppyDriveState = { track: 0, changed: true };

  /** @param medium What lies in it. */
  constructor(medium: BlockBacking | undefined) {
    this.#medium = medium;
  }

  /** A copy of the state. */
  get state(): FloppyDriveState {
    return { ...this.#state };
  }

  set state(state: FloppyDriveState) {
    this.#state = { ...state };
  }

  /** Cylinder under the heads. */
  get track(): number {
    return this.#state.track;
  }

  /** Whether DSKCHG is active. */
  get changed(): boolean {
    return this.#state.changed;
  }

  /** How the medium is laid out; undefined without one. */
  get format(): FloppyFormat | undefined {
    return this.#medium && floppyFormat(this.#medium.size);
  }

  /** Whether the medium's tab is open. */
  get protected(): boolean {
    return this.#medium?.readOnly ?? false;
  }

  /** Changes the medium; a drive has no lock, so that it always works. */
  insert(medium: BlockBacking | undefined): boolean {
    this.#medium = medium;
    this.#state.changed = true;
    return true;
  }

  /** Moves the heads; a step with a medium inside ends DSKCHG. */
  step(track: number): void {
    if (track !== this.#state.track && this.#medium !== undefined) this.#state.changed = false;
    this.#state.track = track;
  }

  /** Head at cylinder 0. */
  home(): void {
    this.#state.track = 0;
  }

  /** Reads the sector with that number; what an image that stops early lacks is zeros. */
  read(sector: number, into: Uint8Array): SectorFault | undefined {
    const medium = this.#medium;
    if (medium === undefined) return "absent";
    const at = sector * SECTOR_BYTES;
    if (at + into.length > medium.size) return void into.fill(0);
    return medium.read(at, into);
  }

  /** Writes the sector with that number. */
  write(sector: number, bytes: Uint8Array): SectorFault | undefined {
    const at = sector * SECTOR_BYTES;
    if (this.#medium === undefined || at + bytes.length > this.#medium.size) return "absent";
    return this.#medium.write(at, bytes);
  }
}
