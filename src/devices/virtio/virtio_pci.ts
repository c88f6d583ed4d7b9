/** virtio over PCI, without the legacy interface: a function with MSI-X (virtio 1.2, 4.1). */
import type { AccessPoint, DeviceHost, DeviceRange } from "../../vm/device.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import { numberOf, putNumber } from "../byte_device.ts";
import { COMMAND, COMMAND_INTX_DISABLE_BIT, STATUS, STATUS_INTERRUPT_BIT } from "../pci/config_space.ts";
import { Msix, MSIX_VECTORS_LIMIT, msixField, msixSize } from "../pci/msix.ts";
import { PCI_BITS } from "../pci/pci_bits.ts";
import { type BarRange, PciFunction } from "../pci/pci_function.ts";
import { bits, integer, restoreRecord } from "../state.ts";
import { CommonConfig } from "./common_config.ts";
import { Kicks } from "./kicks.ts";
import {
  addCapabilities,
  MSIX_BAR,
  MSIX_CONTROL,
  NOTIFY_BYTES,
  PART,
  PART_BYTES,
  REGISTERS_BAR,
  REGISTERS_BYTES,
  WINDOW,
} from "./pci_capabilities.ts";
import { DEVICE_ID, ISR, STATUS as STATUS_BITS } from "./spec.ts";
import { VirtioDevice, type VirtioOptions } from "./virtio_device.ts";
import type { VirtioType } from "./virtio_type.ts";

/** 4.1.2: a device ID is this and the type. */
const FIRST_DEVICE_ID = 0x1040;
/** Class codes, so that drivers that go by them find what they know (PCI 3.0, appendix D). */
const CLASS: ReadonlyMap<number, number> = new Map([
  [DEVICE_ID.network, 0x02_00_00],
  [DEVICE_ID.block, 0x01_00_00],
  [DEVICE_ID.console, 0x07_80_00],
]);
const OTHER_CLASS = 0xff_00_00;

/** Where on the bus it is, and what it offers. */
export interface VirtioPciOptions extends VirtioOptions {
  /** Slot on bus 0, 3 to 31; the first free one if left out. */
  readonly slot?: number;
}

/** A virtio device that is a PCI function. */
export class VirtioPci extends PciFunction {
  /** Names of the bits of its registers. */
  override readonly bits: Readonly<Record<string, RegisterBits>> = {
    command: PCI_BITS.command,
    pciStatus: PCI_BITS.status,
    status: STATUS_BITS,
    ISR: { config: ISR.CONFIG, queue: ISR.QUEUE },
  };
  /** The device behind the registers. */
  readonly virtio: VirtioDevice;
  /** The slot it wants. */
  override readonly slot?: number;
  readonly #common: CommonConfig;
  readonly #msix: Msix;
  readonly #kicks = new Kicks();
  #isr = 0;

  /** @throws {InputError} If the type makes no sense. */
  constructor(type: VirtioType, options: VirtioPciOptions = {}) {
    const vectors = Math.min(type.queues.length + 1, MSIX_VECTORS_LIMIT);
    super(type.name, {
      vendor: 0x1af4,
      device: FIRST_DEVICE_ID + type.id,
      revision: 1,
      classCode: CLASS.get(type.id) ?? OTHER_CLASS,
      subsystemVendor: 0x1af4,
      subsystem: 0x1100,
      pin: 1,
      bars: [{ kind: "memory", size: REGISTERS_BYTES }, { kind: "memory", size: msixSize(vectors) }],
    });
    this.slot = options.slot;
    this.#msix = new Msix(
      vectors,
      () => this.config.get(MSIX_CONTROL, 2),
      (address, data) => this.message(address, data),
      (address, data) => this.hypervisorMasks(address, data),
    );
    this.virtio = new VirtioDevice(type, {
      queue: (index) => this.#notify(ISR.QUEUE, this.#common.queueVectors[index]),
      config: () => this.#notify(ISR.CONFIG, this.#common.configVector),
      mayReachMemory: () => this.busMaster,
    }, options);
    this.#common = new CommonConfig(this.virtio, vectors, () => this.#resetDevice());
    const { pendingOffset } = this.#msix;
    addCapabilities(this.config, {
      vectors,
      pendingOffset,
      queues: type.queues.length,
    });
  }

  /** "request": the driver tells of one, where the base address registers are now. */
  get points(): Readonly<Record<string, readonly AccessPoint[]>> {
    const length = this.virtio.setups.length * NOTIFY_BYTES;
    const mapped = this.config.mappings.filter(({ bar }) => bar === REGISTERS_BAR);
    return {
      request: mapped.map(({ start }) => ({
        space: "mmio",
        start: start + BigInt(PART.notify),
        length,
        direction: "write",
      })),
    };
  }

  /** Gets access to memory and interrupts. */
  override attach(host: DeviceHost): void {
    super.attach(host);
    this.#kicks.connect(host);
    this.virtio.connect(host);
  }

  /** Lets go of them. */
  override detach(): void {
    this.reset();
    this.#kicks.connect(undefined);
    this.virtio.connect(undefined);
    super.detach();
  }

  /** The guest reads a register, configuration, or MSI-X's table. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    this.#read((range as BarRange).bar, offset, data);
  }

  /** The guest writes one. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    this.#write((range as BarRange).bar, offset, data);
  }

  /** The guest reads configuration space; its window reads what it is set to (4.1.4.9). */
  override configRead(offset: number, size: 1 | 2 | 4): number {
    const window = inWindow(offset, size) ? this.#window() : undefined;
    if (window !== undefined) {
      const data = new Uint8Array(window.length);
      this.#read(window.bar, window.offset, data);
      this.config.set(WINDOW.data, numberOf(data), 4);
    }
    return super.configRead(offset, size);
  }

  /** As after power-on. */
  override reset(): void {
    super.reset();
    this.#msix.reset();
    this.#resetDevice();
  }

  /** Configuration space, registers and queues. */
  override save(): unknown {
    return {
      ...super.save() as object,
      id: this.virtio.type.id,
      isr: this.#isr,
      common: this.#common.save(),
      msix: this.#msix.save(),
      virtio: this.virtio.save(),
    };
  }

  /** @throws {InputError} If the record is of another device or version, or damaged. */
  override restore(saved: unknown): void {
    const { id } = this.virtio.type;
    const state = restoreRecord(`pci ${this.name}`, 1, {
      id: integer(id, id),
      isr: bits(2),
      common: this.#common.field,
      msix: msixField(this.#msix.vectors),
      virtio: (value: unknown) => value,
    }, saved);
    const before = super.save();
    // Whether queues may be read goes by the command register, which comes first.
    super.restore(saved);
    try {
      this.virtio.restore(state.virtio);
    } catch (error) {
      super.restore(before);
      throw error;
    }
    this.#common.restore(state.common);
    this.#msix.restore(state.msix);
    this.#isr = state.isr;
    this.#update();
  }

  /** The header, whose status is `pciStatus`, where interrupts go, then device status and queues. */
  override inspect(): Record<string, number | bigint | string> {
    const { status: pciStatus, ...header } = super.inspect();
    return { ...header, pciStatus, ISR: this.#isr, ...this.#msix.inspect(), ...this.virtio.inspect() };
  }

  /** The guest wrote configuration space. */
  protected override configured(offset: number, size: number): void {
    const window = inWindow(offset, size) ? this.#window() : undefined;
    if (window !== undefined) {
      const data = new Uint8Array(window.length);
      putNumber(data, this.config.get(WINDOW.data, 4));
      this.#write(window.bar, window.offset, data);
    }
    this.#msix.controlled();
    this.#update();
  }

  /** What the window is set to; undefined if that is no access (4.1.4.9.1). */
  #window(): { bar: number; offset: number; length: number } | undefined {
    const bar = this.config.get(WINDOW.bar, 1);
    const offset = this.config.get(WINDOW.offset, 4);
    const length = this.config.get(WINDOW.length, 4);
    const size = [REGISTERS_BYTES, this.#msix.size][bar] ?? 0;
    const valid = (length === 1 || length === 2 || length === 4) && offset % length === 0 && offset < size;
    return valid ? { bar, offset, length } : undefined;
  }

  #read(bar: number, offset: number, data: Uint8Array): void {
    data.fill(0);
    if (bar === MSIX_BAR) return this.#msix.read(offset, data);
    if (bar !== REGISTERS_BAR) return;
    const at = offset % PART_BYTES;
    switch (offset - at) {
      case PART.common:
        return this.#common.read(at, data);
      case PART.device:
        return this.virtio.readConfig(at, data);
      case PART.isr:
        // Reading acknowledges (4.1.4.5.1).
        if (at !== 0) return;
        data[0] = this.#isr;
        this.#isr = 0;
        this.#update();
    }
  }

  #write(bar: number, offset: number, data: Uint8Array): void {
    if (bar === MSIX_BAR) return this.#msix.write(offset, data);
    if (bar !== REGISTERS_BAR) return;
    const at = offset % PART_BYTES;
    switch (offset - at) {
      case PART.common:
        this.#common.write(at, data);
        if (this.virtio.live) this.#hangDoorbells();
        return;
      case PART.device:
        return this.virtio.writeConfig(at, data);
      case PART.notify:
        if (at % NOTIFY_BYTES === 0) this.virtio.kicked(at / NOTIFY_BYTES);
    }
  }

  /** Where its registers are now, which drivers leave as it is while they drive it; else notifications are accesses. */
  #hangDoorbells(): void {
    const mapped = this.config.mappings.find(({ bar }) => bar === REGISTERS_BAR);
    if (mapped === undefined) return;
    const at = BigInt(mapped.start) + BigInt(PART.notify);
    this.#kicks.hang(this.virtio, (queue) => ({ at: at + BigInt(queue * NOTIFY_BYTES), length: 2 }));
  }

  /** 4.1.5.1.3, 4.1.5.1.4: by MSI-X where it is on, else by the pin. */
  #notify(bit: number, vector: number): void {
    if (this.#msix.enabled) {
      if (bit === ISR.CONFIG) this.#isr |= bit;
      this.#msix.notify(vector);
    } else {
      this.#isr |= bit;
      this.#update();
    }
  }

  /** The driver resets the device; configuration space and MSI-X's table are the bus's. */
  #resetDevice(): void {
    this.#kicks.takeDown();
    this.virtio.reset();
    this.#common.reset();
    this.#isr = 0;
    this.#update();
  }

  #update(): void {
    const wanted = this.#isr !== 0 && !this.#msix.enabled;
    const status = this.config.get(STATUS, 2) & ~STATUS_INTERRUPT_BIT;
    this.config.set(STATUS, status | (wanted ? STATUS_INTERRUPT_BIT : 0), 2);
    if (wanted && (this.config.get(COMMAND, 2) & COMMAND_INTX_DISABLE_BIT) === 0) this.intx.raise();
    else this.intx.lower();
  }
}

function inWindow(offset: number, size: number): boolean {
  return offset < WINDOW.data + 4 && offset + size > WINDOW.data;
}
