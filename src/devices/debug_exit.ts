/**
 * The port through which a guest ends itself with a code: QEMU's isa-debug-exit.
 *
 * Documentation: QEMU, hw/misc/debugexit.c (`-device isa-debug-exit,iobase=0xf4,iosize=0x04`). There is no chip.
 */
import type { Device } from "../vm/device.ts";
import { numberOf } from "./byte_device.ts";
import { restoreRecord, saveRecord } from "./state.ts";

/** What the exit port is made of. */
export interface DebugExitOptions {
  /** Default "debugexit". */
  readonly name?: string;
  /** First of its ports. Default 0xf4. */
  readonly port?: number;
  /** How many ports. Default 4. */
  readonly length?: number;
  /** The guest ends with `code`: `(value << 1) | 1`, 32 bits unsigned; a process shows its low 8 bits. */
  readonly onExit: (code: number) => void;
}

/** The exit port: a write of any width ends the guest, a read gives zeros. */
export class DebugExit implements Device {
  /** "debugexit" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: { readonly start: number; readonly length: number };
  readonly #onExit: (code: number) => void;

  /** @param options What it is made of. */
  constructor(options: DebugExitOptions) {
    this.name = options.name ?? "debugexit";
    this.ports = { start: options.port ?? 0xf4, length: options.length ?? 4 };
    this.#onExit = options.onExit;
  }

  /** The guest reads zeros. */
  read(_offset: number, data: Uint8Array): void {
    data.fill(0);
  }

  /** The guest ends itself. */
  write(_offset: number, data: Uint8Array): void {
    this.#onExit(((numberOf(data) << 1) | 1) >>> 0);
  }

  /** Nothing to do: the port remembers nothing. */
  reset(): void {}

  /** An empty record: the port remembers nothing. */
  save(): unknown {
    return saveRecord("debugexit", 1, {});
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    restoreRecord("debugexit", 1, {}, saved);
  }

  /** It has no registers. */
  inspect(): Record<string, number> {
    return {};
  }
}
