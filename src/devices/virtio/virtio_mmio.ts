/** virtio over MMIO: a page of registers and a line (virtio 1.2, 4.2). */
import {
  type AccessPoint,
  type Device,
  type DeviceHost,
  type InterruptCauses,
  NO_LINE,
} from "../../vm/device.ts";
import { InputError } from "../../vm/errors.ts";
import { numberOf, putNumber } from "../byte_device.ts";
import { bits, record, type Saved, saveRecord } from "../state.ts";
import type { QueueArea } from "./queue_setup.ts";
import { LineCauses } from "../line_causes.ts";
import { Kicks } from "./kicks.ts";
import { ISR } from "./spec.ts";
import { VirtioDevice, type VirtioOptions } from "./virtio_device.ts";
import type { VirtioType } from "./virtio_type.ts";

/** Offsets (4.2.2, table 4.1). */
const REGISTER = {
  MagicValue: 0x000,
  Version: 0x004,
  DeviceID: 0x008,
  VendorID: 0x00c,
  DeviceFeatures: 0x010,
  DeviceFeaturesSel: 0x014,
  DriverFeatures: 0x020,
  DriverFeaturesSel: 0x024,
  QueueSel: 0x030,
  QueueNumMax: 0x034,
  QueueNum: 0x038,
  QueueReady: 0x044,
  QueueNotify: 0x050,
  InterruptStatus: 0x060,
  InterruptACK: 0x064,
  Status: 0x070,
  ConfigGeneration: 0x0fc,
} as const;
const CONFIG = 0x100;
/** Halves of the addresses of the selected queue. */
const AREAS: ReadonlyMap<number, readonly [QueueArea, boolean]> = new Map([
  [0x080, ["desc", false]],
  [0x084, ["desc", true]],
  [0x090, ["driver", false]],
  [0x094, ["driver", true]],
  [0x0a0, ["device", false]],
  [0x0a4, ["device", true]],
]);
/** SHMLenLow to SHMBaseHigh: all ones, as there is no shared memory region (4.2.2). */
const SHM_FIRST = 0x0b0;
const SHM_LAST = 0x0bc;
const MAGIC = 0x7472_6976;
const VERSION = 2;
/** Bytes of its range. */
export const VIRTIO_MMIO_BYTES = 0x1000;

/** Where devices are put that are not told where to be: pages from here, each with an interrupt of its own. */
const SLOT_BASE = 0xd000_0000n;
/** The I/O APIC's inputs that no ISA device has. */
const SLOT_IRQ = 16;
const SLOTS = 8;

/** Where it is and which interrupt it raises. */
export interface VirtioMmioOptions extends VirtioOptions {
  /**
   * Guest-physical address, a multiple of 4096, where no memory is, and interrupt input. Left out: the first free
   * page of eight from 0xd0000000, with inputs 16 to 23.
   */
  readonly place?: { readonly at: bigint; readonly irq: number };
}

/**
 * A virtio device at an address. A kernel that was booted without firmware finds it in the ACPI tables, any other
 * where it is told to look (Linux: `virtio_mmio.device=4K@ADDRESS:IRQ`).
 */
export class VirtioMmio implements Device {
  /** The type's name. */
  readonly name: string;
  /** The device behind the registers. */
  readonly virtio: VirtioDevice;
  #place: { readonly at: bigint; readonly irq: number };
  readonly #fixed: boolean;
  /** InterruptStatus, which InterruptACK clears (4.2.2). */
  #causes: InterruptCauses = new LineCauses(NO_LINE);
  /** While they are answered beside this device. */
  #aside: Disposable | undefined;
  readonly #kicks = new Kicks();
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  #queueSel = 0;

  /** @throws {InputError} If type or place make no sense. */
  constructor(type: VirtioType, options: VirtioMmioOptions = {}) {
    const { at, irq } = this.#place = options.place ?? slot(0);
    this.#fixed = options.place !== undefined;
    if (!Number.isInteger(irq) || irq < 0 || irq > 23) {
      throw new InputError(`${type.name}: there is no interrupt input ${irq}`, {
        remedy: "give one of 5 to 23",
      });
    }
    if (at % BigInt(VIRTIO_MMIO_BYTES) !== 0n) {
      throw new InputError(`${type.name}: 0x${at.toString(16)} is no multiple of 4096`, {
        remedy: "leave the place out, or give the start of a page",
      });
    }
    this.name = type.name;
    this.virtio = new VirtioDevice(type, {
      queue: () => this.#causes.raise(ISR.QUEUE),
      config: () => this.#causes.raise(ISR.CONFIG),
    }, options);
  }

  /** One page. */
  get mmio(): { readonly start: bigint; readonly length: number } {
    return { start: this.#place.at, length: VIRTIO_MMIO_BYTES };
  }

  /** "request": the driver tells of one. */
  get points(): Readonly<Record<string, readonly AccessPoint[]>> {
    const start = this.#place.at + BigInt(REGISTER.QueueNotify);
    return { request: [{ space: "mmio", start, length: 4, direction: "write" }] };
  }

  /** Its interrupt input. */
  get irq(): number {
    return this.#place.irq;
  }

  /** Takes the first free page, unless it was told where to be. @throws {InputError} If none is free. */
  place(free: (start: bigint, length: bigint) => boolean): void {
    if (this.#fixed) return;
    const found = Array.from({ length: SLOTS }, (_, i) => slot(i)).find(({ at }) =>
      free(at, BigInt(VIRTIO_MMIO_BYTES))
    );
    if (found === undefined) {
      throw new InputError(`there is no place left for ${this.name}: all ${SLOTS} are taken`, {
        remedy: "remove a device, or say where this one shall be",
      });
    }
    this.#place = found;
  }

  /** Gets access to memory and its interrupt. */
  attach(host: DeviceHost): void {
    this.virtio.connect(host);
    const at = (offset: number) => this.#place.at + BigInt(offset);
    const place = {
      status: at(REGISTER.InterruptStatus),
      acknowledge: at(REGISTER.InterruptACK),
      gsi: this.irq,
    };
    this.#causes = host.causes?.(place) ?? new LineCauses(host.line(this.irq));
    this.#kicks.connect(host);
  }

  /** Lets go of them. */
  detach(): void {
    this.reset();
    this.#kicks.connect(undefined);
    this.virtio.connect(undefined);
    this.#causes[Symbol.dispose]?.();
    this.#causes = new LineCauses(NO_LINE);
  }

  /** Registers are read whole, 32 bits aligned (4.2.2.2); any other access gives zeros. Configuration: any width. */
  read(offset: number, data: Uint8Array): void {
    if (offset >= CONFIG) return this.virtio.readConfig(offset - CONFIG, data);
    putNumber(data, data.length === 4 && offset % 4 === 0 ? this.#register(offset) : 0);
  }

  /** Registers are written whole; any other write is ignored. */
  write(offset: number, data: Uint8Array): void {
    if (offset >= CONFIG) return this.virtio.writeConfig(offset - CONFIG, data);
    if (data.length === 4 && offset % 4 === 0) this.#setRegister(offset, numberOf(data));
  }

  /** As after power-on. */
  reset(): void {
    this.#takeDoorbellsDown();
    this.virtio.reset();
    this.#deviceFeaturesSel = this.#driverFeaturesSel = this.#queueSel = 0;
    this.#causes.acknowledge(~0);
  }

  /** Registers and queues. */
  save(): unknown {
    return saveRecord(this.#kind, 1, {
      interruptStatus: this.#causes.bits,
      deviceFeaturesSel: this.#deviceFeaturesSel,
      driverFeaturesSel: this.#driverFeaturesSel,
      queueSel: this.#queueSel,
      virtio: this.virtio.save(),
    });
  }

  /** @throws {InputError} If the record is of another device or version, or damaged. */
  restore(saved: unknown): void {
    const given = saved as Saved<object> | null | undefined;
    if (typeof given !== "object" || given?.device !== this.#kind || given.version !== 1) {
      throw new InputError(`This is not a saved state of a ${this.#kind} of version 1`, {
        remedy: `restore a record that save() of a ${this.#kind} gave`,
      });
    }
    const state = record({
      interruptStatus: bits(2),
      deviceFeaturesSel: bits(32),
      driverFeaturesSel: bits(32),
      queueSel: bits(32),
      virtio: (value: unknown) => value,
    })(saved, this.#kind);
    this.virtio.restore(state.virtio);
    this.#deviceFeaturesSel = state.deviceFeaturesSel;
    this.#driverFeaturesSel = state.driverFeaturesSel;
    this.#queueSel = state.queueSel;
    this.#causes.acknowledge(~0);
    this.#causes.raise(state.interruptStatus);
    this.#takeDoorbellsDown();
    if (this.virtio.live) this.#hangDoorbells();
  }

  /** Registers by name, then the queues. */
  inspect(): Record<string, number | bigint | string> {
    return {
      DeviceID: this.virtio.type.id,
      InterruptStatus: this.#causes.bits,
      QueueSel: this.#queueSel,
      ...this.virtio.inspect(),
    };
  }

  get #kind(): string {
    return `virtio-mmio ${this.virtio.type.id}`;
  }

  #register(offset: number): number {
    const setup = this.virtio.setups[this.#queueSel];
    const area = AREAS.get(offset);
    if (area !== undefined) return 0; // write-only
    switch (offset) {
      case REGISTER.MagicValue:
        return MAGIC;
      case REGISTER.Version:
        return VERSION;
      case REGISTER.DeviceID:
        return this.virtio.type.id;
      case REGISTER.VendorID:
        return 0x6873_7668; // "hvsh"
      case REGISTER.DeviceFeatures:
        return this.virtio.offer(this.#deviceFeaturesSel);
      case REGISTER.QueueNumMax:
        return setup?.most ?? 0;
      case REGISTER.QueueReady:
        return Number(setup?.ready ?? false);
      case REGISTER.InterruptStatus:
        return this.#causes.bits;
      case REGISTER.Status:
        return this.virtio.status;
      case REGISTER.ConfigGeneration:
        return this.virtio.generation;
      default:
        return offset >= SHM_FIRST && offset <= SHM_LAST ? 0xffff_ffff : 0;
    }
  }

  #setRegister(offset: number, value: number): void {
    const setup = this.virtio.setups[this.#queueSel];
    const area = AREAS.get(offset);
    if (area !== undefined) return setup?.setHalf(...area, value);
    switch (offset) {
      case REGISTER.DeviceFeaturesSel:
        this.#deviceFeaturesSel = value;
        break;
      case REGISTER.DriverFeatures:
        this.virtio.accept(this.#driverFeaturesSel, value);
        break;
      case REGISTER.DriverFeaturesSel:
        this.#driverFeaturesSel = value;
        break;
      case REGISTER.QueueSel:
        this.#queueSel = value;
        break;
      case REGISTER.QueueNum:
        // Larger than 16 bits can say is larger than any queue: refused when the queue is made.
        setup?.setSize(Math.min(value, 0xffff));
        break;
      case REGISTER.QueueReady:
        this.virtio.enableQueue(this.#queueSel, (value & 1) !== 0);
        break;
      case REGISTER.QueueNotify:
        this.virtio.kicked(value);
        break;
      case REGISTER.InterruptACK:
        this.#causes.acknowledge(value);
        break;
      case REGISTER.Status:
        if (value === 0) this.reset();
        else this.virtio.setStatus(value & 0xff);
        if (this.virtio.live) this.#hangDoorbells();
        break;
    }
  }

  /** The same register for all queues: the number that is written tells which. */
  #hangDoorbells(): void {
    const at = this.#place.at + BigInt(REGISTER.QueueNotify);
    this.#kicks.hang(this.virtio, (queue) => ({ at, length: 4, value: queue }));
    this.#aside ??= this.#causes.aside?.();
  }

  #takeDoorbellsDown(): void {
    this.#kicks.takeDown();
    this.#aside?.[Symbol.dispose]();
    this.#aside = undefined;
  }
}

function slot(index: number): { at: bigint; irq: number } {
  return { at: SLOT_BASE + BigInt(index * VIRTIO_MMIO_BYTES), irq: SLOT_IRQ + index };
}
