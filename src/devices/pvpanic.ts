/**
 * The port through which a kernel says that it has panicked: QEMU's pvpanic.
 *
 * Specification: QEMU, docs/specs/pvpanic.rst. There is no chip. Linux's driver is pvpanic-mmio, which finds the port
 * by ACPI (`QEMU0001`).
 */
import { ByteDevice } from "./byte_device.ts";
import { restoreRecord, saveRecord } from "./state.ts";

/** Where QEMU has it, and where the ACPI tables say it is. */
export const PVPANIC_PORT = 0x505;

/** Events, one bit each; a read gives those that are known. */
const PANICKED = 1 << 0;
const CRASH_LOADED = 1 << 1;

/** What the port is wired to. */
export interface PvpanicOptions {
  /** Default "pvpanic". */
  readonly name?: string;
  /** The kernel panicked, and nothing of its own will take care of that. */
  readonly onPanic: () => void;
  /** The kernel panicked, and goes on into its crash kernel (kdump). */
  readonly onCrashLoaded?: () => void;
}

/** One byte-wide port. Bits that are not known are ignored. */
export class Pvpanic extends ByteDevice {
  /** "pvpanic" unless told otherwise. */
  readonly name: string;
  /** Port 0x505. */
  readonly ports: { readonly start: number; readonly length: number } = { start: PVPANIC_PORT, length: 1 };
  readonly #options: PvpanicOptions;

  /** @param options What it is wired to. */
  constructor(options: PvpanicOptions) {
    super();
    this.name = options.name ?? "pvpanic";
    this.#options = options;
  }

  /** The guest asks which events are known. */
  protected readByte(): number {
    return PANICKED | CRASH_LOADED;
  }

  /** The guest tells one. */
  protected writeByte(_offset: number, value: number): void {
    if ((value & PANICKED) !== 0) this.#options.onPanic();
    else if ((value & CRASH_LOADED) !== 0) this.#options.onCrashLoaded?.();
  }

  /** Nothing to do: the port remembers nothing. */
  reset(): void {}

  /** An empty record: the port remembers nothing. */
  save(): unknown {
    return saveRecord("pvpanic", 1, {});
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    restoreRecord("pvpanic", 1, {}, saved);
  }

  /** It has no registers. */
  inspect(): Record<string, number> {
    return {};
  }
}
