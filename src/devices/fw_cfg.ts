/**
 * QEMU's firmware configuration device: how SeaBIOS, OVMF and GRUB learn about the machine they run on.
 *
 * Specification: QEMU, docs/specs/fw_cfg.rst, https://www.qemu.org/docs/master/specs/fw_cfg.html
 */
import type { Device, DeviceHost, DeviceRange } from "../vm/device.ts";
import { FaultError, StateError } from "../vm/errors.ts";
import { numberOf } from "./byte_device.ts";
import { FwCfgItems, KEY, littleEndian } from "./fw_cfg_items.ts";
import { bits, integer, restoreRecord, saveRecord, type Shape } from "./state.ts";

const SELECTOR_PORT = 0x510;
const DMA_PORT = 0x514;

/** Bits of FW_CFG_ID. */
const ID_TRADITIONAL_BIT = 0x01;
const ID_DMA_BIT = 0x02;
/** Bits of FWCfgDmaAccess.control. */
const DMA_ERROR_BIT = 0x01;
const DMA_READ_BIT = 0x02;
const DMA_SKIP_BIT = 0x04;
const DMA_SELECT_BIT = 0x08;
const DMA_WRITE_BIT = 0x10;
const DMA_ACCESS_BYTES = 16;
const DMA_SIGNATURE = new TextEncoder().encode("QEMU CFG");

/** A DMA read past an item's end gives zeros; more of them than this in one operation are an error. */
const PADDING_LIMIT = 1 << 20;
const ADDRESS_END = 1n << 64n;
const ZEROS = new Uint8Array(4096);

interface State {
  /** The key last selected. */
  selector: number;
  /** Next byte of the item; what lies behind its end reads as zeros. */
  offset: number;
  /** Halves of the DMA address register. */
  addressHigh: number;
  addressLow: number;
}

const SHAPE: Shape<State> = {
  selector: bits(16),
  offset: integer(0, Number.MAX_SAFE_INTEGER),
  addressHigh: bits(32),
  addressLow: bits(32),
};

/** What the firmware shall know from the start. */
export interface FwCfgOptions {
  /** Default "fwcfg". */
  readonly name?: string;
  /** RAM in bytes. */
  readonly memory: number | bigint;
  /** vCPUs at power-on, and at most (default: the same). */
  readonly cpus: number;
  readonly maxCpus?: number;
  /** Whether the firmware offers its boot menu. Default: no. */
  readonly bootMenu?: boolean;
  /** Whether there is no display: SeaBIOS and others then print to the serial port. Default: no. */
  readonly nographic?: boolean;
  /** 16 bytes. Default: zeros. */
  readonly uuid?: Uint8Array;
  /** Whether the DMA interface is there. Default: yes. */
  readonly dma?: boolean;
}

/** The fw_cfg device at ports 0x510, 0x511 and 0x514..0x51b. */
export class FwCfg implements Device {
  /** "fwcfg" unless told otherwise. */
  readonly name: string;
  /** Selector and data; and the DMA address register. */
  readonly ports: readonly DeviceRange[];
  /** What can be read. */
  readonly items = new FwCfgItems();
  readonly #dma: boolean;
  #host: DeviceHost | undefined;
  #state: State = powerOn();
  /** Bytes of the selected item. */
  #item: Uint8Array = new Uint8Array(0);

  /** @param options What it is made of. */
  constructor(options: FwCfgOptions) {
    this.name = options.name ?? "fwcfg";
    this.#dma = options.dma ?? true;
    const control = { start: SELECTOR_PORT, length: 2 };
    this.ports = this.#dma ? [control, { start: DMA_PORT, length: 8 }] : [control];
    const maxCpus = options.maxCpus ?? options.cpus;
    const set = (key: number, value: Uint8Array) => this.items.set(key, value);
    set(KEY.SIGNATURE, DMA_SIGNATURE.subarray(0, 4));
    set(KEY.ID, littleEndian(ID_TRADITIONAL_BIT | (this.#dma ? ID_DMA_BIT : 0), 4));
    set(KEY.UUID, options.uuid ?? new Uint8Array(16));
    set(KEY.RAM_SIZE, littleEndian(options.memory, 8));
    set(KEY.NOGRAPHIC, littleEndian(options.nographic ? 1 : 0, 2));
    set(KEY.NB_CPUS, littleEndian(options.cpus, 2));
    set(KEY.MACHINE_ID, littleEndian(0, 4));
    set(KEY.BOOT_DEVICE, littleEndian(0, 2));
    // Number of NUMA nodes (none), then a node number for each CPU.
    set(KEY.NUMA, new Uint8Array(8 + 8 * maxCpus));
    set(KEY.BOOT_MENU, littleEndian(options.bootMenu ? 1 : 0, 2));
    set(KEY.MAX_CPUS, littleEndian(maxCpus, 2));
    // ISA interrupt 0 arrives at IOAPIC input 2, as in KVM's default routing.
    set(KEY.IRQ0_OVERRIDE, littleEndian(1, 4));
    this.#select(0);
  }

  /** Gets access to guest memory for DMA. */
  attach(host: DeviceHost): void {
    this.#host = host;
  }

  /** The guest reads the data register, or the DMA interface's signature. */
  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    if (range.start === DMA_PORT) {
      for (let i = 0; i < data.length; i++) data[i] = DMA_SIGNATURE[offset + i] ?? 0;
      return;
    }
    // The data register is one byte wide; both ports answer, since the two registers overlap.
    if (data.length === 1) data[0] = this.#item[this.#state.offset++] ?? 0;
  }

  /** The guest selects an item, or starts a DMA operation. */
  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    const state = this.#state;
    if (range.start !== DMA_PORT) {
      // Writes to the data register are ignored (specification, Data Register).
      if (offset === 0 && data.length === 2) this.#select(numberOf(data));
      return;
    }
    if (data.length !== 4 || (offset !== 0 && offset !== 4)) return;
    const value = new DataView(data.buffer, data.byteOffset, 4).getUint32(0);
    if (offset === 0) state.addressHigh = value;
    else {
      state.addressLow = value;
      const at = BigInt(state.addressHigh) << 32n | BigInt(state.addressLow);
      state.addressHigh = state.addressLow = 0;
      this.#operate(at);
    }
  }

  /** Nothing selected but the signature. Files that the guest wrote keep what it wrote. */
  reset(): void {
    this.#state = powerOn();
    this.#select(0);
  }

  /** Selector, offset, and what the guest wrote; the other items belong to the machine's configuration. */
  save(): unknown {
    return { ...saveRecord("fwcfg", 1, this.#state), contents: this.items.save() };
  }

  /** @throws {InputError} If the record is of another device or version, or its files are not here. */
  restore(saved: unknown): void {
    const state = restoreRecord("fwcfg", 1, SHAPE, saved);
    this.items.restore((saved as { contents?: unknown }).contents);
    this.#select(state.selector);
    this.#state = state;
  }

  /** Selector, offset and the file names. */
  inspect(): Record<string, number | bigint | string> {
    const { selector, offset, addressHigh, addressLow } = this.#state;
    return {
      selector,
      offset,
      itemSize: this.#item.length,
      dmaAddress: BigInt(addressHigh) << 32n | BigInt(addressLow),
      files: this.items.files.map((f) => f.name).join(" "),
    };
  }

  #select(key: number): void {
    this.#state.selector = key;
    this.#state.offset = 0;
    this.#item = this.items.find(key)?.bytes ?? new Uint8Array(0);
  }

  /** One operation of the DMA interface, described by the FWCfgDmaAccess at `at`. */
  #operate(at: bigint): void {
    if (this.#host === undefined) throw new StateError("fw_cfg is not plugged into a machine", "detached");
    const access = new Uint8Array(DMA_ACCESS_BYTES);
    const view = new DataView(access.buffer);
    let ok = false;
    try {
      this.#host.read(at, access);
      ok = this.#transfer(this.#host, view.getUint32(0), view.getUint32(4), view.getBigUint64(8));
    } catch (error) {
      if (!(error instanceof FaultError)) throw error;
    }
    view.setUint32(0, ok ? 0 : DMA_ERROR_BIT);
    try {
      this.#host.write(at, access.subarray(0, 4));
    } catch (error) {
      // The structure is not in memory: there is no place to report it to.
      if (!(error instanceof FaultError)) throw error;
    }
  }

  /** Reads, writes or skips. @throws {FaultError} If the guest's buffer is not memory. */
  #transfer(host: DeviceHost, control: number, length: number, address: bigint): boolean {
    if (control & DMA_SELECT_BIT) this.#select(control >>> 16);
    if (control & (DMA_READ_BIT | DMA_WRITE_BIT) && address + BigInt(length) > ADDRESS_END) return false;
    const { offset } = this.#state;
    const left = this.#item.subarray(Math.min(offset, this.#item.length));
    if (control & DMA_READ_BIT) {
      const body = left.subarray(0, length);
      host.write(address, body);
      const padding = length - body.length;
      if (padding > PADDING_LIMIT) return false;
      for (let done = 0; done < padding; done += ZEROS.length) {
        host.write(address + BigInt(body.length + done), ZEROS.subarray(0, padding - done));
      }
    } else if (control & DMA_WRITE_BIT) {
      const item = this.items.find(this.#state.selector);
      // An item can't be resized; a write that does not fit is dropped entirely.
      if (item?.writable !== true || length > left.length) return false;
      const bytes = new Uint8Array(length);
      host.read(address, bytes);
      left.set(bytes);
      item.written?.(item.bytes);
    } else if (!(control & DMA_SKIP_BIT)) {
      return true;
    }
    this.#state.offset = offset + length;
    return true;
  }
}

function powerOn(): State {
  return { selector: 0, offset: 0, addressHigh: 0, addressLow: 0 };
}
