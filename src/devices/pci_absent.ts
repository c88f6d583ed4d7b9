/**
 * PCI configuration ports of a machine without PCI: nothing answers, but the ports are decoded and the reset
 * control register between them works.
 *
 * Specification: PCI Local Bus 2.2, 3.2.2.3.2 (configuration mechanism #1); Intel 82371SB (PIIX3), 2.5.5.5
 * "RC - Reset Control Register" at 0xcf9.
 */
import type { Device } from "../vm/device.ts";
import { numberOf, putNumber } from "./byte_device.ts";
import { ResetControl } from "./reset_control.ts";
import { bits, restoreRecord, saveRecord, type Shape } from "./state.ts";

const ADDRESS = 0;
const RESET_CONTROL = 1;
/** Enable, bus, device, function and register; the others read as zeros. */
const ADDRESS_MASK = 0x80ff_fffc;

interface State {
  address: number;
  resetControl: number;
}

const SHAPE: Shape<State> = { address: bits(32), resetControl: bits(8) };

/** CONFIG_ADDRESS that can be read back, CONFIG_DATA that reads as ones. */
export class PciAbsent implements Device {
  /** "pci" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number } = { start: 0xcf8, length: 8 };
  readonly #reset: ResetControl;
  #address = 0;

  /** @param options `onReset`: the guest asked for a reset through port 0xcf9. */
  constructor(options: { readonly name?: string; readonly onReset?: () => void } = {}) {
    this.name = options.name ?? "pci";
    this.#reset = new ResetControl(options.onReset);
  }

  /** The guest reads the address or reset register; all else is left as ones. */
  read(offset: number, data: Uint8Array): void {
    if (offset === ADDRESS && data.length === 4) putNumber(data, this.#address);
    else if (offset === RESET_CONTROL && data.length === 1) data[0] = this.#reset.value;
  }

  /** The guest writes the address or reset register; all else goes nowhere. */
  write(offset: number, data: Uint8Array): void {
    if (offset === ADDRESS && data.length === 4) this.#address = (numberOf(data) & ADDRESS_MASK) >>> 0;
    else if (offset === RESET_CONTROL && data.length === 1) this.#reset.write(data[0]);
  }

  /** Zeros. */
  reset(): void {
    this.#address = 0;
    this.#reset.value = 0;
  }

  /** Both registers. */
  save(): unknown {
    return saveRecord<State>("pci-absent", 1, { address: this.#address, resetControl: this.#reset.value });
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    const state = restoreRecord("pci-absent", 1, SHAPE, saved);
    this.#address = state.address;
    this.#reset.value = state.resetControl;
  }

  /** Both registers. */
  inspect(): Record<string, number> {
    return { CONFIG_ADDRESS: this.#address, resetControl: this.#reset.value };
  }
}
