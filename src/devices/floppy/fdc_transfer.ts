/**
 * Commands of the floppy disk controller that move data: sector by sector between a drive and the guest, by DMA or
 * through the data register.
 *
 * Data sheet: Intel 82077AA, 290166, "Data Transfer Commands".
 */
import { type BlockFault, SECTOR_BYTES } from "../../vm/block.ts";
import type { DmaChannel } from "../dma_channel.ts";
import * as r from "./fdc_registers.ts";
import { byPio, driveOf, type FdcState, headOf, ID_BYTES, SIZE_CODE, takesData } from "./fdc_state.ts";
import type { FloppyDrive, SectorFault } from "./floppy_drive.ts";

/** What a transfer works with. */
export interface TransferParts {
  /** The controller's state now: a reset makes another one. */
  readonly state: () => FdcState;
  readonly drives: readonly (FloppyDrive | undefined)[];
  readonly dma: DmaChannel;
  /** The command is over, with status registers 1 and 2. */
  readonly end: (st1: number, st2: number) => void;
  readonly interrupt: (on: boolean) => void;
  /** The host's side of a drive's medium failed. */
  readonly fault: (fault: BlockFault, drive: number) => void;
}

/** The transfer of the command that runs. */
export class FdcTransfer {
  readonly #parts: TransferParts;

  constructor(parts: TransferParts) {
    this.#parts = parts;
  }

  get #state(): FdcState {
    return this.#parts.state();
  }

  get #drive(): FloppyDrive | undefined {
    return this.#parts.drives[driveOf(this.#state)];
  }

  /** A command that moves data begins. */
  begin(): void {
    const state = this.#state;
    const [code, , cylinder, head, sector] = state.command;
    const drive = this.#drive;
    state.phase = "execution";
    const command = code & r.COMMAND_MASK;
    if (takesData(code) && drive?.protected) return this.#parts.end(r.ST1_NOT_WRITABLE_BIT, 0);
    if (command === r.FORMAT) {
      if (drive?.format === undefined) return this.#parts.end(r.ST1_MISSING_MARK_BIT, 0);
      state.left = state.command[3];
      if (state.left === 0) return this.#parts.end(0, 0);
    } else {
      if (state.config[0] & r.CONFIG_IMPLIED_SEEK_BIT) drive?.step(cylinder);
      state.id = { cylinder, head, sector: command === r.READ_TRACK ? 1 : sector };
      state.left = 1;
    }
    this.#next();
    this.move();
  }

  /** Makes the buffer ready for the next sector or ID. */
  #next(): void {
    const state = this.#state;
    const [code] = state.command;
    state.at = 0;
    if ((code & r.COMMAND_MASK) === r.FORMAT) {
      state.data = new Array(ID_BYTES).fill(0);
    } else {
      const place = this.#find();
      if (place === undefined) return;
      const bytes = new Uint8Array(SECTOR_BYTES);
      if (!takesData(code)) {
        const fault = this.#drive!.read(place, bytes);
        if (fault !== undefined) return this.#failed(fault);
      }
      state.data = [...bytes];
    }
    if (byPio(this.#state)) this.#parts.interrupt(true);
  }

  /** A byte went through the data register: each of them is an interrupt. */
  byteMoved(): void {
    const state = this.#state;
    this.#parts.interrupt(false);
    if (state.at === state.data.length) this.#moved(false);
    else this.#parts.interrupt(true);
  }

  /** The number of the sector that the command wants; ends the command if there is no such sector. */
  #find(): number | undefined {
    const { id, command, rate } = this.#state;
    const drive = this.#drive;
    const format = drive?.format;
    const side = (command[0] & r.MULTI_TRACK_BIT) !== 0 && id.head !== command[3]
      ? id.head & 1
      : headOf(this.#state);
    if (
      format === undefined || !format.rates.includes(rate) || side >= format.heads ||
      drive!.track >= format.cylinders
    ) {
      this.#parts.end(r.ST1_MISSING_MARK_BIT, 0);
      return undefined;
    }
    if (id.cylinder !== drive!.track) {
      this.#parts.end(r.ST1_NO_DATA_BIT, r.ST2_WRONG_CYLINDER_BIT);
      return undefined;
    }
    if (id.head !== side || id.sector < 1 || id.sector > format.sectors || command[5] !== SIZE_CODE) {
      this.#parts.end(r.ST1_NO_DATA_BIT, 0);
      return undefined;
    }
    return (id.cylinder * format.heads + side) * format.sectors + id.sector - 1;
  }

  /** Moves what can be moved by DMA. */
  move(): void {
    const state = this.#state;
    const { dma } = this.#parts;
    while (state.phase === "execution") {
      if ((state.command[0] & r.COMMAND_MASK) === r.VERIFY) {
        state.at = SECTOR_BYTES;
        this.#moved(false);
        continue;
      }
      if (byPio(this.#state) || !dma.ready) return;
      const bytes = Uint8Array.from(state.data.slice(state.at));
      const { moved, terminal } = takesData(state.command[0]) ? dma.get(bytes) : dma.put(bytes);
      if (takesData(state.command[0])) state.data.splice(state.at, moved, ...bytes.subarray(0, moved));
      state.at += moved;
      if (terminal || state.at === state.data.length) this.#moved(terminal);
    }
  }

  /** A sector or an ID is through, or the last part of one. */
  #moved(terminal: boolean): void {
    const state = this.#state;
    const [code] = state.command;
    const command = code & r.COMMAND_MASK;
    if (command === r.FORMAT) {
      if (!this.#formatted()) return;
      state.left--;
      if (terminal || state.left === 0) return this.#parts.end(0, 0);
      return this.#next();
    }
    if (takesData(code) && !this.#stored()) return;
    if (command === r.READ_DELETED && (code & r.SKIP_BIT) === 0) {
      // All data here has ordinary marks, which this command takes for the wrong ones: it stops after the first.
      this.#advance();
      return this.#parts.end(0, r.ST2_CONTROL_MARK_BIT);
    }
    const more = this.#advance();
    if (terminal) return this.#parts.end(0, 0);
    if (more) return this.#next();
    const early = !byPio(this.#state) && command !== r.VERIFY;
    this.#parts.end(early ? r.ST1_END_OF_TRACK_BIT : 0, 0);
  }

  /** Goes on to the next sector's ID (82077AA, table "Result Phase"). Whether the command wants that one. */
  #advance(): boolean {
    const { id, command } = this.#state;
    const last = command[6];
    if (id.sector !== last) {
      id.sector = (id.sector + 1) & 0xff;
      return true;
    }
    id.sector = 1;
    const multi = (command[0] & r.MULTI_TRACK_BIT) !== 0 && (command[0] & r.COMMAND_MASK) !== r.READ_TRACK;
    if (multi && (id.head & 1) === 0) {
      id.head |= 1;
      return true;
    }
    if (multi) id.head &= ~1;
    id.cylinder = (id.cylinder + 1) & 0xff;
    return false;
  }

  /** Writes the sector in the buffer; what did not come is zeros. */
  #stored(): boolean {
    const place = this.#find();
    if (place === undefined) return false;
    const { data, at } = this.#state;
    const bytes = Uint8Array.from(data, (byte, i) => i < at ? byte : 0);
    const fault = this.#drive!.write(place, bytes);
    if (fault !== undefined) this.#failed(fault);
    return fault === undefined;
  }

  /** Fills the sector whose ID came; one that the format does not have takes no room. */
  #formatted(): boolean {
    const { data, command } = this.#state;
    const drive = this.#drive;
    const format = drive?.format;
    const [, , sector] = data;
    if (
      format === undefined || headOf(this.#state) >= format.heads || drive!.track >= format.cylinders
    ) {
      this.#parts.end(r.ST1_MISSING_MARK_BIT, 0);
      return false;
    }
    if (sector < 1 || sector > format.sectors) return true;
    const place = (drive!.track * format.heads + headOf(this.#state)) * format.sectors + sector - 1;
    const fault = drive!.write(place, new Uint8Array(SECTOR_BYTES).fill(command[5]));
    if (fault !== undefined) this.#failed(fault);
    return fault === undefined;
  }

  /** The host's side failed, which is a bad sector for the guest. */
  #failed(fault: SectorFault): void {
    const { end, fault: tell, state } = this.#parts;
    if (fault !== "absent") tell(fault, driveOf(state()));
    const readOnly = fault !== "absent" && fault.kind === "read-only";
    if (readOnly) end(r.ST1_NOT_WRITABLE_BIT, 0);
    else end(r.ST1_DATA_ERROR_BIT, r.ST2_DATA_ERROR_BIT);
  }
}
