/**
 * What all PCI functions have in common: configuration space, ranges that move with the base address registers,
 * and an interrupt pin.
 */
import {
  type Device,
  type DeviceHost,
  type DeviceRange,
  type InterruptLine,
  NO_LINE,
} from "../../vm/device.ts";
import { FaultError } from "../../vm/errors.ts";
import { putNumber } from "../byte_device.ts";
import { restoreRecord, saveRecord, type Shape } from "../state.ts";
import {
  COMMAND,
  COMMAND_BUS_MASTER_BIT,
  CONFIG_FIELD,
  ConfigSpace,
  type PciIdentity,
} from "./config_space.ts";
import type { RegisterBits } from "../../vm/register_bits.ts";
import { PCI_BITS } from "./pci_bits.ts";

/** The highest bits of the addresses that LAPICs take messages at (SDM vol. 3A, 11.11.1). */
const LAPICS = 0xfeen;

/** A range that a base address register made. */
export interface BarRange extends DeviceRange {
  /** Index of the register. */
  readonly bar: number;
}

/**
 * A PCI function: a device whose ranges the guest moves. What derives from it says what its registers do; the
 * ranges come to `read` and `write` as `BarRange`s.
 */
export abstract class PciFunction implements Device {
  /** Unique among a machine's devices. */
  readonly name: string;
  /** Its configuration space. */
  readonly config: ConfigSpace;
  /** Its interrupt pin; the host bridge connects it. */
  intx: InterruptLine = NO_LINE;
  #host: DeviceHost | undefined;
  #ranges: { readonly io: readonly BarRange[]; readonly memory: readonly BarRange[] } = {
    io: [],
    memory: [],
  };
  /** Names of the bits of its registers. */
  readonly bits: Readonly<Record<string, RegisterBits>> = PCI_BITS;
  /** Interrupt pin, 1..4, 0 for none. */
  readonly pin: number;
  /** The slot it wants, 3..31, if it comes to a bus that has no place for it; any if left out. */
  readonly slot?: number;

  constructor(name: string, identity: PciIdentity) {
    this.name = name;
    this.config = new ConfigSpace(identity);
    this.pin = identity.pin ?? 0;
  }

  /** The port ranges it decodes now. */
  get ports(): readonly DeviceRange[] {
    return this.#ranges.io;
  }

  /** The memory ranges it decodes now. */
  get mmio(): readonly DeviceRange[] {
    return this.#ranges.memory;
  }

  /** The machine it is plugged into, if it is. */
  protected get host(): DeviceHost | undefined {
    return this.#host;
  }

  /** Whether the guest lets it reach memory by itself. */
  protected get busMaster(): boolean {
    return (this.config.get(COMMAND, 2) & COMMAND_BUS_MASTER_BIT) !== 0;
  }

  /**
   * Writes 32 bits to an address that the guest chose, as a message-signalled interrupt is (PCI 3.0, 6.8): LAPICs take
   * what goes to 0xfeexxxxx, memory anything else, and nobody what goes nowhere.
   */
  protected message(address: bigint, data: number): void {
    if (!this.busMaster) return;
    if (address >> 20n === LAPICS || this.hypervisorMasks(address, data)) {
      return this.#host?.message?.(Number(address), data);
    }
    const bytes = new Uint8Array(4);
    putNumber(bytes, data);
    try {
      this.#host?.write(address, bytes);
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
    }
  }

  /** Whether such a message is masked by the hypervisor, whatever the function's own mask bits say. */
  protected hypervisorMasks(address: bigint, data: number): boolean {
    return this.#host?.masks?.(Number(address), data) ?? false;
  }

  /** Gets access to memory and interrupts. */
  attach(host: DeviceHost): void {
    this.#host = host;
  }

  /** Lets go of them. */
  detach(): void {
    this.intx.lower();
    this.#host = undefined;
  }

  /** The guest reads configuration space. */
  configRead(offset: number, size: 1 | 2 | 4): number {
    return this.config.get(offset, size);
  }

  /** The guest writes configuration space. */
  configWrite(offset: number, value: number, size: 1 | 2 | 4): void {
    this.config.write(offset, value, size);
    this.configured(offset, size);
    this.remap();
  }

  /** Called after the guest wrote `size` bytes of configuration space at `offset`. */
  protected configured(_offset: number, _size: number): void {}

  /** Ranges beside those of the base address registers; `bar` is -1 and below for them. */
  protected extraRanges(): { readonly io: readonly BarRange[]; readonly memory: readonly BarRange[] } {
    return { io: [], memory: [] };
  }

  /** Works out the ranges again, and tells the machine if they changed. */
  protected remap(): void {
    const extra = this.extraRanges();
    const of = (kind: "io" | "memory"): BarRange[] => [
      ...this.config.mappings.filter((m) => m.kind === kind).map(({ bar, start, length }) => ({
        bar,
        start,
        length,
      })),
      ...extra[kind],
    ];
    const next = { io: of("io"), memory: of("memory") };
    if (same(next.io, this.#ranges.io) && same(next.memory, this.#ranges.memory)) return;
    this.#ranges = next;
    this.#host?.moved?.(this);
  }

  /** Configuration space as after power-on; nothing is decoded. */
  reset(): void {
    this.config.reset();
    this.intx.lower();
    this.remap();
  }

  /** Configuration space. */
  save(): unknown {
    return saveRecord(`pci ${this.name}`, 1, { config: this.config.save() });
  }

  /** @throws {InputError} If the record is of another function or version, or damaged. */
  restore(saved: unknown): void {
    const shape: Shape<{ config: number[] }> = { config: CONFIG_FIELD };
    this.config.restore(restoreRecord(`pci ${this.name}`, 1, shape, saved).config);
    this.remap();
  }

  /** Identity, command, interrupt line and where the base address registers point. */
  inspect(): Record<string, number | bigint | string> {
    const { config } = this;
    const shown: Record<string, number | bigint | string> = {
      vendor: config.get(0x00, 2),
      device: config.get(0x02, 2),
      command: config.get(0x04, 2),
      status: config.get(0x06, 2),
      interruptLine: config.get(0x3c, 1),
    };
    for (const { bar, start } of config.mappings) shown[`BAR${bar}`] = start;
    return shown;
  }
}

function same(a: readonly BarRange[], b: readonly BarRange[]): boolean {
  return a.length === b.length &&
    a.every((r, i) => r.bar === b[i].bar && r.start === b[i].start && r.length === b[i].length);
}
