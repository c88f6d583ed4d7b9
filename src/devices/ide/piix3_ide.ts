/**
 * The IDE function of the PIIX3 at 00:01.1: two channels at their places from before PCI, and bus mastering.
 *
 * Data sheet: Intel 82371FB/82371SB PCI ISA IDE Xcelerator, April 1997, 2.3 and 2.7.
 */
import type { BlockFault } from "../../vm/block.ts";
import type { AccessPoint, DeviceHost, DeviceRange } from "../../vm/device.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import {
  BASE_ADDRESS,
  COMMAND,
  COMMAND_BUS_MASTER_BIT,
  COMMAND_CONFIGURED,
  LATENCY_TIMER,
  STATUS,
} from "../pci/config_space.ts";
import { type BarRange, PciFunction } from "../pci/pci_function.ts";
import { record, restoreRecord, type Shape } from "../state.ts";
import { commandName } from "./ata.ts";
import { ideBits } from "./ide_bits.ts";
import { BUS_MASTER_BYTES, BUS_MASTER_SHAPE, BusMaster, type BusMasterState } from "./bus_master.ts";
import { CHANNEL_SHAPE, IdeChannel, type SavedChannel } from "./channel.ts";
import type { IdeCommand, IdeDrive } from "./drive.ts";

/** Timing registers, one for each channel; bit 15 lets the function answer at the channel's ports. */
const IDETIM = 0x40;
const IDETIM_DECODE_BIT = 0x8000;
/** Slave timing. */
const SIDETIM = 0x44;
const BUS_MASTER_BAR = 4;
const BUS_MASTER_PORT = 0xc000;
const IO_BIT = 0x01;
const STATUS_INITIAL = 0x0280;

/** Ranges that are no base address registers'. */
const COMMAND_BLOCK = [-1, -2];
const CONTROL_BLOCK = [-3, -4];
const RANGES: readonly (readonly BarRange[])[] = [
  [{ bar: COMMAND_BLOCK[0], start: 0x1f0, length: 8 }, { bar: CONTROL_BLOCK[0], start: 0x3f6, length: 1 }],
  [{ bar: COMMAND_BLOCK[1], start: 0x170, length: 8 }, { bar: CONTROL_BLOCK[1], start: 0x376, length: 1 }],
];
const INTERRUPTS: readonly [number, number] = [14, 15];

interface Channels {
  readonly channels: readonly SavedChannel[];
  readonly engines: readonly BusMasterState[];
}

/** What the function is made of. */
export interface Piix3IdeOptions {
  /** Default "ide0". */
  readonly name?: string;
  /** Master and slave at ports 0x1f0 and 0x3f6, interrupt 14. */
  readonly primary?: readonly [IdeDrive | undefined, IdeDrive | undefined];
  /** Ports 0x170 and 0x376, interrupt 15. */
  readonly secondary?: readonly [IdeDrive | undefined, IdeDrive | undefined];
  /**
   * Whether ports are on, and the bus master registers at 0xc000, as firmware puts them, for a guest without it.
   * Default: no.
   */
  readonly configured?: boolean;
  /** A drive got a command. Called before it runs. */
  readonly onCommand?: (command: IdeCommand) => void;
  /**
   * The host's side of a drive failed. Called once for each kind of fault of a drive until the machine is reset,
   * however often the guest tries.
   */
  readonly onFault?: (fault: BlockFault, drive: IdeDrive) => void;
}

/** 8086:7010. */
export class Piix3Ide extends PciFunction {
  /** Called with each command that a drive gets, before it runs. May be set while the guest runs. */
  onCommand: ((command: IdeCommand) => void) | undefined;
  /** The command registers of both channels. */
  readonly points: Readonly<Record<string, readonly AccessPoint[]>> = {
    command: [0x1f7, 0x177].map((start) => ({ space: "port", start, length: 1, direction: "write" })),
  };
  /** The interrupts of the channels. */
  readonly interrupts: readonly number[] = INTERRUPTS;
  /** Names of the bits of its registers. */
  override readonly bits: Readonly<Record<string, RegisterBits>>;
  /** Primary and secondary. */
  readonly channels: readonly [IdeChannel, IdeChannel];
  readonly #engines: readonly [BusMaster, BusMaster] = [new BusMaster(), new BusMaster()];
  readonly #onFault: Piix3IdeOptions["onFault"];
  readonly #told = new Set<string>();

  /**
   * Makes the function; it belongs into slot 1, function 1.
   *
   * @param options What it is made of.
   */
  constructor(options: Piix3IdeOptions = {}) {
    super(options.name ?? "ide0", {
      vendor: 0x8086,
      device: 0x7010,
      classCode: 0x01_01_80, // channels that stay where they are, bus master
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      bars: [, , , , { kind: "io", size: 2 * BUS_MASTER_BYTES }],
    });
    this.onCommand = options.onCommand;
    this.#onFault = options.onFault;
    this.channels = [
      new IdeChannel("primary", options.primary ?? [undefined, undefined]),
      new IdeChannel("secondary", options.secondary ?? [undefined, undefined]),
    ];
    this.channels.forEach((channel, i) => this.#connect(channel, this.#engines[i]));
    this.bits = ideBits(this.channels.map(({ name, drives }) => ({
      name,
      packet: drives.map((drive) => drive?.packet === true),
    })));
    this.config.allow(LATENCY_TIMER, 0xf0, 1);
    this.config.initial(STATUS, STATUS_INITIAL, 2);
    for (let i = 0; i < 2; i++) {
      // The data sheet has them off after a reset; firmware for virtual machines counts on them being on.
      this.config.initial(IDETIM + 2 * i, IDETIM_DECODE_BIT, 2);
      this.config.allow(IDETIM + 2 * i, 0xf3ff, 2);
    }
    this.config.allow(SIDETIM, 0xff, 1);
    if (options.configured) {
      this.config.initial(COMMAND, COMMAND_CONFIGURED | COMMAND_BUS_MASTER_BIT, 2);
      this.config.initial(BASE_ADDRESS + 4 * BUS_MASTER_BAR, BUS_MASTER_PORT | IO_BIT, 4);
    }
    this.remap();
  }

  /** Whether there is a drive. */
  get driven(): boolean {
    return this.channels.some(({ drives }) => drives.some((drive) => drive !== undefined));
  }

  /** Its drives, and those that work. */
  summary(): string {
    const said = this.channels.flatMap(({ drives }, c) =>
      drives.flatMap((drive, d) => drive === undefined ? [] : [`hd${"abcd"[2 * c + d]} ${drive.title}`])
    );
    return said.join(", ") || "no drives";
  }

  /** Finds memory and the interrupts. */
  override attach(host: DeviceHost): void {
    super.attach(host);
    this.channels.forEach((channel, i) => {
      channel.line = host.line(INTERRUPTS[i]);
      this.#engines[i].host = host;
      channel.update();
    });
  }

  /** Lets go of them. */
  override detach(): void {
    this.channels.forEach((channel, i) => {
      channel.release();
      this.#engines[i].host = undefined;
    });
    super.detach();
  }

  /** The guest reads a register. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    const { bar } = range as BarRange;
    const channel = this.channels[bar === COMMAND_BLOCK[1] || bar === CONTROL_BLOCK[1] ? 1 : 0];
    if (bar === COMMAND_BLOCK[0] || bar === COMMAND_BLOCK[1]) return channel.read(offset, data);
    if (bar !== BUS_MASTER_BAR) {
      data[0] = channel.alternateStatus;
      return;
    }
    for (let i = 0; i < data.length; i++) {
      const at = offset + i;
      data[i] = this.#engines[at >> 3 & 1].read(at & 7);
    }
  }

  /** The guest writes a register. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    const { bar } = range as BarRange;
    const channel = this.channels[bar === COMMAND_BLOCK[1] || bar === CONTROL_BLOCK[1] ? 1 : 0];
    if (bar === COMMAND_BLOCK[0] || bar === COMMAND_BLOCK[1]) return channel.write(offset, data);
    if (bar !== BUS_MASTER_BAR) return channel.writeControl(data[0]);
    for (let i = 0; i < data.length; i++) {
      const at = offset + i;
      this.#engines[at >> 3 & 1].write(at & 7, data[i]);
    }
  }

  /** INS: a sector in one call. */
  readString(offset: number, data: Uint8Array, size: number, range: DeviceRange): void {
    const channel = COMMAND_BLOCK.indexOf((range as BarRange).bar);
    if (offset === 0 && channel >= 0) return this.channels[channel].readData(data, size);
    for (let i = 0; i < data.length; i += size) this.read(offset, data.subarray(i, i + size), range);
  }

  /** OUTS. */
  writeString(offset: number, data: Uint8Array, size: number, range: DeviceRange): void {
    const channel = COMMAND_BLOCK.indexOf((range as BarRange).bar);
    if (offset === 0 && channel >= 0) return this.channels[channel].writeData(data, size);
    for (let i = 0; i < data.length; i += size) this.write(offset, data.subarray(i, i + size), range);
  }

  /** Everything as after power-on; the media stay. */
  override reset(): void {
    for (const engine of this.#engines) engine.reset();
    for (const channel of this.channels) channel.powerOn();
    this.#told.clear();
    super.reset();
  }

  /** Configuration space, channels, drives and DMA engines; the media are not part of it. */
  override save(): unknown {
    return {
      ...super.save() as object,
      channels: this.channels.map((channel) => channel.save()),
      engines: this.#engines.map((engine) => engine.save()),
    };
  }

  /**
   * Takes what `save` gave, with the same drives and media.
   *
   * @throws {InputError} If the record is of another function, of other drives or media, or damaged.
   */
  override restore(saved: unknown): void {
    const { channels, engines } = restoreRecord(`pci ${this.name}`, 1, SHAPE, saved);
    const takes = this.channels.map((channel, i) => channel.prepare(channels[i]));
    super.restore(saved);
    this.#engines.forEach((engine, i) => engine.restore(engines[i]));
    for (const take of takes) take();
  }

  /** Registers of channels, drives and DMA engines, beside the header. */
  override inspect(): Record<string, number | bigint | string> {
    return {
      ...super.inspect(),
      ...Object.assign(
        {},
        ...this.channels.map((channel, i) => ({
          ...channel.inspect(),
          ...this.#engines[i].inspect(channel.name),
        })),
      ),
    };
  }

  /** The guest wrote configuration space: it may have let the function reach memory. */
  protected override configured(): void {
    for (const engine of this.#engines) engine.run();
  }

  /** The channels' own ports, if they are decoded. */
  protected override extraRanges(): {
    readonly io: readonly BarRange[];
    readonly memory: readonly BarRange[];
  } {
    const on = (this.config.get(COMMAND, 2) & IO_BIT) !== 0;
    const decoded = RANGES.filter((_, i) =>
      on && (this.config.get(IDETIM + 2 * i, 2) & IDETIM_DECODE_BIT) !== 0
    );
    return { io: decoded.flat(), memory: [] };
  }

  #connect(channel: IdeChannel, engine: BusMaster): void {
    engine.drive = () => channel.selected;
    engine.enabled = () => this.busMaster;
    channel.events = { interrupt: () => engine.interrupted(), dma: () => engine.run() };
    channel.connect((i) => ({
      command: (command) =>
        this.onCommand?.({ ...command, channel: channel.name, drive: i, name: commandName(command.command) }),
      fault: (fault) => this.#fault(fault, channel, i),
    }));
  }

  #fault(fault: BlockFault, channel: IdeChannel, i: number): void {
    const what = `${channel.name} ${i} ${fault.kind}`;
    const drive = channel.drives[i];
    if (drive === undefined || this.#told.has(what)) return;
    this.#told.add(what);
    this.#onFault?.(fault, drive);
  }
}

const pair = <T extends object>(shape: Shape<T>) => (value: unknown, path: string): T[] => {
  const list = Array.isArray(value) ? value : [];
  return [0, 1].map((i) => record(shape)(list[i], `${path}[${i}]`));
};

const SHAPE: Shape<Channels> = { channels: pair(CHANNEL_SHAPE), engines: pair(BUS_MASTER_SHAPE) };
