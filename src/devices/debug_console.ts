/**
 * A port that prints: Bochs' debug port 0xe9, and QEMU's isa-debugcon, which SeaBIOS and OVMF use at 0x402.
 *
 * Documentation: Bochs user manual, "port_e9_hack"; QEMU, hw/char/debugcon.c. There is no chip.
 */
import { ByteDevice } from "./byte_device.ts";
import { restoreRecord, saveRecord } from "./state.ts";

/** What a read gives: how a guest finds out that the port is there. */
const READBACK = 0xe9;

/** What a debug port is made of. */
export interface DebugConsoleOptions {
  /** Unique among a machine's devices: "debugcon". */
  readonly name: string;
  /** 0x402 or 0xe9. */
  readonly port: number;
  /** Takes what the guest prints, a copy each. */
  readonly sink: (bytes: Uint8Array) => void;
}

/** One byte-wide port: writes go to the sink. */
export class DebugConsole extends ByteDevice {
  /** Unique among a machine's devices. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number };
  readonly #sink: (bytes: Uint8Array) => void;
  #printed = 0;

  /** @param options What it is made of. */
  constructor(options: DebugConsoleOptions) {
    super();
    this.name = options.name;
    this.ports = { start: options.port, length: 1 };
    this.#sink = options.sink;
  }

  /** The guest reads a register. */
  protected readByte(): number {
    return READBACK;
  }

  /** The guest writes a register. */
  protected writeByte(_offset: number, value: number): void {
    this.#printed++;
    this.#sink(Uint8Array.of(value));
  }

  /** Nothing to do: the port remembers nothing. */
  reset(): void {}

  /** An empty record: the port remembers nothing. */
  save(): unknown {
    return saveRecord("debugcon", 1, {});
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    restoreRecord("debugcon", 1, {}, saved);
  }

  /** How many bytes were printed through it. */
  inspect(): Record<string, number> {
    return { readback: READBACK, printed: this.#printed };
  }
}
