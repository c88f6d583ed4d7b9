/**
 * A channel: two drives on one cable, of which the device register selects one.
 *
 * Specification: ATA/ATAPI-6 (T13/1410D), 7 (registers) and 9.16 (devices that are not there).
 */
import { type InterruptLine, NO_LINE } from "../../vm/device.ts";
import { InputError } from "../../vm/errors.ts";
import { bits, type Field, type Shape } from "../state.ts";
import * as a from "./ata.ts";
import type { IdeDrive } from "./drive.ts";

/** A saved channel. */
export interface SavedChannel {
  device: number;
  control: number;
  /** What the drives gave; null where there is none. */
  drives: unknown[];
}

const DRIVES: Field<unknown[]> = (value, path) => {
  if (Array.isArray(value) && value.length === 2) return [...value];
  return [bits(0)(undefined, `${path} (two drives)`)];
};

/** What a saved channel must look like. */
export const CHANNEL_SHAPE: Shape<SavedChannel> = { device: bits(8), control: bits(8), drives: DRIVES };

/** What a channel tells the function it belongs to. */
export interface ChannelEvents {
  /** A drive requests its interrupt. */
  interrupt(): void;
  /** The selected drive waits for a DMA engine. */
  dma(): void;
}

/** Command and control block registers of two drives. */
export class IdeChannel {
  /** "primary" or "secondary". */
  readonly name: string;
  /** Master and slave. */
  readonly drives: readonly [IdeDrive | undefined, IdeDrive | undefined];
  /** The interrupt input; set when the machine is known. */
  line: InterruptLine = NO_LINE;
  /** Set by the function it belongs to. */
  events: ChannelEvents = { interrupt() {}, dma() {} };
  readonly #both: readonly IdeDrive[];
  /** The device register as it was written: it selects, whichever drives there are. */
  #device = 0;
  #control = 0;
  #raised = false;
  readonly #word = new Uint8Array(2);

  /** @param drives Master and slave, undefined where there is none. */
  constructor(name: string, drives: readonly [IdeDrive | undefined, IdeDrive | undefined]) {
    this.name = name;
    this.drives = drives;
    this.#both = drives.filter((d) => d !== undefined);
  }

  /** The drive that answers. */
  get selected(): IdeDrive | undefined {
    return this.drives[this.#device & a.DEVICE_DEV_BIT ? 1 : 0];
  }

  /** The command block, read in any width: the data register takes it as a whole, the others are bytes. */
  read(offset: number, data: Uint8Array): void {
    if (offset === a.DATA) return this.readData(data, data.length);
    for (let i = 0; i < data.length && offset + i <= a.STATUS_COMMAND; i++) {
      data[i] = this.#readRegister(offset + i);
    }
  }

  /** The command block, written. */
  write(offset: number, data: Uint8Array): void {
    if (offset === a.DATA) return this.writeData(data, data.length);
    for (let i = 0; i < data.length && offset + i <= a.STATUS_COMMAND; i++) {
      this.#writeRegister(offset + i, data[i]);
    }
  }

  /** The data register, read `size` bytes at a time. It is 16 bits wide: a byte is the low half of a word. */
  readData(data: Uint8Array, size: number): void {
    const drive = this.selected;
    if (drive === undefined) return void data.fill(0);
    if (size > 1) return drive.readData(data);
    for (let i = 0; i < data.length; i++) {
      drive.readData(this.#word);
      data[i] = this.#word[0];
    }
  }

  /** The data register, written `size` bytes at a time. */
  writeData(data: Uint8Array, size: number): void {
    const drive = this.selected;
    if (drive === undefined) return;
    if (size > 1) return drive.writeData(data);
    for (let i = 0; i < data.length; i++) {
      this.#word[0] = data[i];
      this.#word[1] = 0;
      drive.writeData(this.#word);
    }
  }

  /** The alternate status register: the status, without taking the interrupt back. */
  get alternateStatus(): number {
    if (this.#control & a.CONTROL_SRST_BIT) return this.#both.length > 0 ? a.STATUS_BSY_BIT : 0;
    return this.selected?.status ?? 0;
  }

  /** The device control register is written. */
  writeControl(value: number): void {
    const risen = value & ~this.#control & a.CONTROL_SRST_BIT;
    this.#control = value & (a.CONTROL_NIEN_BIT | a.CONTROL_SRST_BIT | a.CONTROL_HOB_BIT);
    if (risen) {
      this.#device = 0;
      for (const drive of this.#both) drive.reset();
    }
    this.update();
  }

  /** As after power-on. */
  powerOn(): void {
    this.#device = this.#control = 0;
    for (const drive of this.#both) drive.powerOn();
    this.update();
  }

  /** Connects the drives. Called once, after `events` was set. */
  connect(events: (drive: number) => Pick<IdeDrive["events"], "command" | "fault">): void {
    this.drives.forEach((drive, i) => {
      if (drive === undefined) return;
      drive.events = {
        ...events(i),
        interrupt: () => {
          if (this.update()) this.events.interrupt();
        },
        dma: () => {
          if (this.selected === drive) this.events.dma();
        },
      };
    });
  }

  /** Drives the line: high while the selected drive's interrupt is pending and not masked. Gives its level. */
  update(): boolean {
    const masked = (this.#control & (a.CONTROL_NIEN_BIT | a.CONTROL_SRST_BIT)) !== 0;
    const level = !masked && this.selected?.interrupt === true;
    if (level !== this.#raised) {
      this.#raised = level;
      if (level) this.line.raise();
      else this.line.lower();
    }
    return level;
  }

  /** Lets go of the line. */
  release(): void {
    if (this.#raised) this.line.lower();
    this.#raised = false;
    this.line = NO_LINE;
  }

  /** Selection, control and drives. */
  save(): SavedChannel {
    return {
      device: this.#device,
      control: this.#control,
      drives: this.drives.map((drive) => drive?.save() ?? null),
    };
  }

  /** Checks a record; gives what takes it. @throws {InputError} If a drive does not take its part. */
  prepare({ device, control, drives }: SavedChannel): () => void {
    const restore = this.drives.flatMap((drive, i) => drive?.prepare(drives[i]) ?? []);
    if (this.drives.some((drive, i) => drive === undefined && drives[i] !== null)) {
      throw new InputError(`The saved ${this.name} IDE channel has a drive where there is none`, {
        remedy: "restore it on a machine with the same drives",
      });
    }
    return () => {
      this.#device = device;
      this.#control = control;
      for (const take of restore) take();
      this.update();
    };
  }

  /** Registers by name. */
  inspect(): Record<string, number | bigint | string> {
    const shown: Record<string, number | string> = {
      [`${this.name}.selected`]: this.#device & a.DEVICE_DEV_BIT ? "slave" : "master",
      [`${this.name}.control`]: this.#control,
    };
    this.drives.forEach((drive, i) => {
      const place = `${this.name}.${i === 0 ? "master" : "slave"}`;
      if (drive === undefined) shown[place] = "none";
      else for (const [name, value] of Object.entries(drive.inspect())) shown[`${place}.${name}`] = value;
    });
    return shown;
  }

  /**
   * Without drives every register is 0: drivers take that as "nothing here" at once. A missing drive's registers
   * are those of the other one, but for status and error, which are 0, and LBA mid and high, which are ones as in QEMU:
   * who looks for signatures after a reset without looking at the status would find the other drive's again.
   */
  #readRegister(offset: number): number {
    const { selected } = this;
    if (offset === a.STATUS_COMMAND) {
      if (selected !== undefined && (this.#control & a.CONTROL_SRST_BIT) === 0) selected.acknowledge();
      return this.alternateStatus;
    }
    const drive = selected ?? this.#both[0];
    if (drive === undefined || (offset === a.ERROR_FEATURES && selected === undefined)) return 0;
    if (selected === undefined) {
      if (offset === a.LBA_MID || offset === a.LBA_HIGH) return 0xff;
      if (offset === a.DEVICE) return this.#device | a.DEVICE_ONES;
    }
    return drive.readRegister(offset, (this.#control & a.CONTROL_HOB_BIT) !== 0);
  }

  #writeRegister(offset: number, value: number): void {
    if (offset === a.STATUS_COMMAND) return this.#command(value);
    // A write to any register but the control register switches to what was written last (7.9).
    this.#control &= ~a.CONTROL_HOB_BIT;
    for (const drive of this.#both) drive.writeRegister(offset, value);
    if (offset !== a.DEVICE) return;
    this.#device = value;
    this.update();
  }

  #command(command: number): void {
    this.#control &= ~a.CONTROL_HOB_BIT;
    // While SRST is held the drives are busy.
    if (this.#control & a.CONTROL_SRST_BIT) return;
    if (command !== a.COMMAND.EXECUTE_DEVICE_DIAGNOSTIC) return this.selected?.writeCommand(command);
    // Both drives run it, and the master answers (8.9).
    this.#device = 0;
    for (const drive of this.#both) drive.diagnose();
    this.update();
  }
}
