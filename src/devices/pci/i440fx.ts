/**
 * The host bridge at 00:00.0: Intel 82441FX, with the attributes of the memory between 768 KiB and 1 MiB.
 *
 * Data sheet: Intel 440FX PCIset 82441FX, May 1996, 3.2.19 "PAM[6:0] - Programmable Attribute Map Registers".
 */
import type { DeviceHost, DeviceRange } from "../../vm/device.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import { BRIDGE_BITS } from "./pci_bits.ts";
import { COMMAND, COMMAND_CONFIGURED } from "./config_space.ts";
import { type BarRange, PciFunction } from "./pci_function.ts";

const PAM0 = 0x59;
const PAM_REGISTERS = 7;
const SMRAM = 0x72;
/** A nibble of a PAM register. */
const READ_RAM_BIT = 0x01;
const WRITE_RAM_BIT = 0x02;
const NIBBLE_MASK = 0x03;
const KiB = 1024;

/** How one stretch of memory below 1 MiB behaves. */
export interface PamArea {
  /** Guest-physical address. */
  readonly start: number;
  /** Bytes. */
  readonly length: number;
  /** Whether reads come from RAM; else from the ROM on the PCI bus. */
  readonly readRam: boolean;
  /** Whether writes reach RAM; else they go nowhere. */
  readonly writeRam: boolean;
}

/** What listens to the bridge. */
export interface I440fxOptions {
  /** Default "i440fx". */
  readonly name?: string;
  /**
   * How `area` behaves now. Called for what is not RAM when it is plugged in, then for what changed. Neighbours that
   * behave alike are one area: a hypervisor takes long to change its map of memory.
   */
  readonly onPam?: (area: PamArea) => void;
  /**
   * The guest writes to an area that reads from ROM and writes RAM: `bytes` belong into the RAM at `at` that the ROM
   * hides. BIOSes copy themselves so. Without it such writes are lost.
   */
  readonly onHidden?: (at: number, bytes: Uint8Array) => void;
  /** Whether all areas are RAM from the start, as firmware leaves most of them, for a guest without it. */
  readonly configured?: boolean;
}

/** 8086:1237, with the subsystem identity that tells SeaBIOS that it runs on a virtual machine. */
export class I440fx extends PciFunction {
  /** Names of the bits of its registers. */
  override readonly bits: Readonly<Record<string, RegisterBits>> = BRIDGE_BITS;
  readonly #onPam: ((area: PamArea) => void) | undefined;
  readonly #onHidden: I440fxOptions["onHidden"];
  #areas: readonly PamArea[];

  /** @param options What it is made of. */
  constructor(options: I440fxOptions = {}) {
    super(options.name ?? "i440fx", {
      vendor: 0x8086,
      device: 0x1237,
      revision: 0x02,
      classCode: 0x06_00_00,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
    });
    this.#onPam = options.onPam;
    this.#onHidden = options.onHidden;
    // PAM0's low nibble is reserved.
    this.config.allow(PAM0, 0x30, 1);
    for (let i = 1; i < PAM_REGISTERS; i++) this.config.allow(PAM0 + i, 0x33, 1);
    if (options.configured) {
      this.config.initial(COMMAND, COMMAND_CONFIGURED, 2);
      this.config.initial(PAM0, 0x30, 1);
      for (let i = 1; i < PAM_REGISTERS; i++) this.config.initial(PAM0 + i, 0x33, 1);
    }
    this.config.initial(SMRAM, 0x02, 1);
    this.config.allow(SMRAM, 0x78, 1);
    this.#areas = this.areas;
  }

  /** The thirteen areas as they are set now, by address. */
  get areas(): readonly PamArea[] {
    const area = (start: number, length: number, nibble: number): PamArea => ({
      start,
      length,
      readRam: (nibble & READ_RAM_BIT) !== 0,
      writeRam: (nibble & WRITE_RAM_BIT) !== 0,
    });
    const areas: PamArea[] = [];
    for (let i = 1; i < PAM_REGISTERS; i++) {
      const register = this.config.get(PAM0 + i, 1);
      const start = 0xc0000 + (i - 1) * 32 * KiB;
      areas.push(area(start, 16 * KiB, register & NIBBLE_MASK));
      areas.push(area(start + 16 * KiB, 16 * KiB, register >> 4 & NIBBLE_MASK));
    }
    areas.push(area(0xf0000, 64 * KiB, this.config.get(PAM0, 1) >> 4 & NIBBLE_MASK));
    return areas;
  }

  /** Tells what is not RAM. */
  override attach(host: DeviceHost): void {
    super.attach(host);
    this.#tell(this.#areas.filter(({ readRam, writeRam }) => !readRam || !writeRam));
  }

  /** Nothing answers on the PCI bus where no ROM is. */
  read(_offset: number, data: Uint8Array): void {
    data.fill(0xff);
  }

  /** A write to RAM that is hidden from reads. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    this.#onHidden?.(Number(range.start) + offset, data);
  }

  /** The areas whose writes and reads part: the ROM there takes no writes, so that they come here. */
  protected override extraRanges(): {
    readonly io: readonly BarRange[];
    readonly memory: readonly BarRange[];
  } {
    const memory = this.areas.filter(({ readRam, writeRam }) => !readRam && writeRam)
      .map(({ start, length }) => ({ bar: -1, start, length }));
    return { io: [], memory: this.#onHidden === undefined ? [] : memory };
  }

  /** The guest wrote configuration space. */
  protected override configured(): void {
    this.#changed();
  }

  /** All areas read from ROM and swallow writes. */
  override reset(): void {
    super.reset();
    this.#changed();
  }

  /** @throws {InputError} If the record is of another function or version. */
  override restore(saved: unknown): void {
    super.restore(saved);
    this.#changed();
  }

  /** The attribute registers, beside the header. */
  override inspect(): Record<string, number | bigint | string> {
    const shown = super.inspect();
    for (let i = 0; i < PAM_REGISTERS; i++) shown[`PAM${i}`] = this.config.get(PAM0 + i, 1);
    return { ...shown, SMRAM: this.config.get(SMRAM, 1) };
  }

  /** How much of the memory below 1 MiB is RAM. */
  summary(): string {
    const ram = this.areas.filter(({ readRam }) => readRam).reduce((sum, { length }) => sum + length, 0);
    return `${ram / KiB} of 256 KiB below 1 MiB read from RAM`;
  }

  #changed(): void {
    const before = this.#areas;
    this.#areas = this.areas;
    this.#tell(this.#areas.filter((area, i) => !alike(area, before[i])));
  }

  #tell(areas: readonly PamArea[]): void {
    const joined: PamArea[] = [];
    for (const area of areas) {
      const last = joined.at(-1);
      if (last !== undefined && last.start + last.length === area.start && alike(last, area)) {
        joined[joined.length - 1] = { ...last, length: last.length + area.length };
      } else joined.push(area);
    }
    for (const area of joined) this.#onPam?.(area);
  }
}

function alike(a: PamArea, b: PamArea): boolean {
  return a.readRam === b.readRam && a.writeRam === b.writeRam;
}
