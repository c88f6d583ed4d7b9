/**
 * A NOR flash chip: where a PC's firmware keeps its variables.
 *
 * Specification: JEDEC JEP137 (command set 0x0001, Intel's) and JESD68 (CFI); Intel 28F640J3, order number 290667.
 * One chip, 8 bits wide, with blocks of 4 KiB, as QEMU's PC has it.
 */
import { type BlockBacking, type BlockFault, SECTOR_BYTES } from "../vm/block.ts";
import type { Device, DeviceHost, LentMemory } from "../vm/device.ts";
import { InputError } from "../vm/errors.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import { cfiTable } from "./flash_cfi.ts";
import { bits, oneOf, restoreRecord, saveRecord, type Shape } from "./state.ts";

/** Bytes that are erased together. */
export const FLASH_BLOCK_BYTES = 4096;
/** What a chip has at most: what firmware may have. */
const LIMIT_BYTES = 16 << 20;

const COMMAND = {
  PROGRAM_ALTERNATE: 0x10,
  ERASE: 0x20,
  PROGRAM: 0x40,
  CLEAR_STATUS: 0x50,
  READ_STATUS: 0x70,
  READ_ID: 0x90,
  QUERY: 0x98,
  CONFIRM: 0xd0,
  READ_ARRAY: 0xff,
} as const;

const STATUS_READY_BIT = 0x80;
const STATUS_ERASE_ERROR_BIT = 0x20;
const STATUS_PROGRAM_ERROR_BIT = 0x10;
const STATUS_LOCKED_BIT = 0x02;
const STATUS_BITS: RegisterBits = {
  LOCKED: STATUS_LOCKED_BIT,
  PROGRAM_ERROR: STATUS_PROGRAM_ERROR_BIT,
  ERASE_ERROR: STATUS_ERASE_ERROR_BIT,
  READY: STATUS_READY_BIT,
};

/** Manufacturer and device: Intel's 28F640J3. */
const IDENTIFIER = [0x89, 0x17];

interface State {
  /** What a read gives. */
  read: "array" | "status" | "identifier" | "query";
  /** What the next write is: a command, or what follows one. */
  next: "command" | "program" | "erase";
  status: number;
}

const SHAPE: Shape<State> = {
  read: oneOf("array", "status", "identifier", "query"),
  next: oneOf("command", "program", "erase"),
  status: bits(8),
};

/** What the chip is, and where its bytes are kept. */
export interface FlashOptions {
  /** Default "flash". */
  readonly name?: string;
  /** Guest-physical address of its first byte, a multiple of 4096. */
  readonly at: bigint;
  /** Its contents: a multiple of 4096 bytes, 16 MiB at most. A read-only store is a chip whose blocks are locked. */
  readonly store: BlockBacking;
  /** Told when the store fails. */
  readonly onFault?: (fault: BlockFault) => void;
}

/** The chip. Where the machine lends RAM, the guest reads it without an exit, and runs code there. */
export class Flash implements Device {
  /** "flash" unless told otherwise. */
  readonly name: string;
  /** All its addresses. */
  readonly mmio: { readonly start: bigint; readonly length: number };
  /** Status register. */
  readonly bits: Readonly<Record<string, RegisterBits>> = { status: STATUS_BITS };
  readonly #options: FlashOptions;
  readonly #array: Uint8Array;
  #host: DeviceHost | undefined;
  #loan: LentMemory | undefined;
  #state: State = powerOn();
  readonly #counts = { programmed: 0, erased: 0 };

  /** @throws {InputError} If the store has no such size, or can't be read. */
  constructor(options: FlashOptions) {
    const { name = "flash", at, store } = options;
    if (store.size % FLASH_BLOCK_BYTES !== 0 || store.size > LIMIT_BYTES || store.size === 0) {
      throw new InputError(`${store.name} has ${store.size} bytes, which no flash chip of a PC has`, {
        remedy: "give 4 KiB to 16 MiB, a multiple of 4 KiB: a copy of /usr/share/OVMF/OVMF_VARS_4M.fd",
      });
    }
    this.#options = options;
    this.#array = new Uint8Array(store.size);
    const fault = store.read(0, this.#array);
    if (fault !== undefined) throw new InputError(fault.message, { remedy: fault.remedy });
    this.name = name;
    this.mmio = { start: at, length: store.size };
  }

  /** Gets memory that the guest can read. */
  attach(host: DeviceHost): void {
    this.#host = host;
    this.#show();
  }

  /** Leaves the machine. */
  detach(): void {
    this.#hide();
    this.#host = undefined;
  }

  /** Bytes, or what the last command asked for. */
  read(offset: number, data: Uint8Array): void {
    for (let i = 0; i < data.length; i++) data[i] = this.#byte(offset + i);
  }

  /** A command, or what follows one: of a wider write the low byte is the command, and all of it is programmed. */
  write(offset: number, data: Uint8Array): void {
    const { next } = this.#state;
    this.#state.next = "command";
    if (next === "program") this.#program(offset, data);
    else if (next === "erase") this.#erase(offset, data[0]);
    else this.#command(data[0]);
    // While the guest asks for something else than bytes, its reads have to come here.
    if (this.#state.read === "array") this.#show();
    else this.#hide();
  }

  /** The bytes, whatever the guest would read now. */
  readMemory(offset: number, into: Uint8Array): boolean {
    into.set(this.#array.subarray(offset, offset + into.length));
    return true;
  }

  /** DMA and debuggers send no commands. */
  writeMemory(): boolean {
    return true;
  }

  /** Reads give bytes again. */
  reset(): void {
    this.#state = powerOn();
    this.#show();
  }

  /** What the chip was told; its bytes are in the store. */
  save(): unknown {
    return saveRecord("flash", 1, this.#state);
  }

  /** @throws {InputError} If the record is of another device or version. */
  restore(saved: unknown): void {
    this.#state = restoreRecord("flash", 1, SHAPE, saved);
    if (this.#state.read === "array") this.#show();
    else this.#hide();
  }

  /** Registers by name. */
  inspect(): Record<string, number | string> {
    const { read, next, status } = this.#state;
    return { read, next, status, ...this.#counts, store: this.#options.store.name };
  }

  #byte(offset: number): number {
    switch (this.#state.read) {
      case "array":
        return this.#array[offset];
      case "status":
        return this.#state.status;
      case "identifier":
        return IDENTIFIER[offset] ?? 0;
      case "query":
        return cfiTable(this.#array.length, FLASH_BLOCK_BYTES)[offset] ?? 0;
    }
  }

  #command(command: number): void {
    const state = this.#state;
    switch (command) {
      case COMMAND.PROGRAM:
      case COMMAND.PROGRAM_ALTERNATE:
        state.read = "status";
        state.next = "program";
        return;
      case COMMAND.ERASE:
        state.read = "status";
        state.next = "erase";
        return;
      case COMMAND.CLEAR_STATUS:
        // 0, not READY: OVMF takes only such a chip for flash, and QEMU's has it so.
        state.status = 0;
        state.read = "array";
        return;
      case COMMAND.READ_STATUS:
        state.read = "status";
        return;
      case COMMAND.READ_ID:
        state.read = "identifier";
        return;
      case COMMAND.QUERY:
        state.read = "query";
        return;
      default:
        // READ_ARRAY, and what the chip does not know.
        state.read = "array";
    }
  }

  /** Programming makes ones to zeros, and nothing else. */
  #program(offset: number, data: Uint8Array): void {
    const part = this.#array.subarray(offset, offset + data.length);
    for (let i = 0; i < part.length; i++) part[i] &= data[i];
    this.#counts.programmed += part.length;
    this.#kept(offset, part.length, STATUS_PROGRAM_ERROR_BIT);
  }

  #erase(offset: number, command: number): void {
    if (command !== COMMAND.CONFIRM) {
      // JEP137: any other command is a wrong sequence, told by both bits.
      this.#state.status |= STATUS_READY_BIT | STATUS_ERASE_ERROR_BIT | STATUS_PROGRAM_ERROR_BIT;
      return;
    }
    const start = offset - offset % FLASH_BLOCK_BYTES;
    this.#array.fill(0xff, start, start + FLASH_BLOCK_BYTES);
    this.#counts.erased++;
    this.#kept(start, FLASH_BLOCK_BYTES, STATUS_ERASE_ERROR_BIT);
  }

  /** Takes what has changed to the store; where that fails, the chip has what the store has. */
  #kept(offset: number, length: number, error: number): void {
    const { store, onFault } = this.#options;
    const state = this.#state;
    const start = offset - offset % SECTOR_BYTES;
    const end = Math.ceil((offset + length) / SECTOR_BYTES) * SECTOR_BYTES;
    const sectors = this.#array.subarray(start, end);
    const fault = store.write(start, sectors);
    state.status |= STATUS_READY_BIT;
    if (fault === undefined) return;
    state.status |= error | (fault.kind === "read-only" ? STATUS_LOCKED_BIT : 0);
    if (store.read(start, sectors) !== undefined || fault.kind !== "read-only") onFault?.(fault);
  }

  #show(): void {
    if (this.#loan !== undefined) return;
    const { start, length } = this.mmio;
    this.#loan = this.#host?.lend?.(start, length, () => this.#loan = undefined, "reads");
    this.#loan?.bytes.set(this.#array);
  }

  #hide(): void {
    this.#loan?.end();
    this.#loan = undefined;
  }
}

function powerOn(): State {
  return { read: "array", next: "command", status: STATUS_READY_BIT };
}
