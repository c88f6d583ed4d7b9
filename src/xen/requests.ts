/** What a vCPU asks of a device model (struct ioreq of xen/hvm/ioreq.h), as exits, and the answers. */

import { ioreq, IOREQ_DATA_IS_PTR, IOREQ_DF, IOREQ_DIR_READ, IOREQ_STATE_MASK, XEN } from "../abi/xen.ts";
import type { BackendMemory } from "../vm/backend.ts";
import type { MmioExit, PortExit } from "../vm/exit.ts";

const { addr, data, count, size, bits, type } = ioreq.offsets;
/** Xen splits at pages: more bytes than this are in no request. */
const MOST_BYTES = 4096;

/** The ports by which the guest reaches configuration space, and what says that it does (PCI 2.2, 3.2.2.3.2). */
const PCI_ADDRESS = 0xcf8;
const PCI_DATA = 0xcfcn;
const PCI_ENABLE_BIT = 0x8000_0000;
/** The last register of a conventional function's configuration space. */
const LAST_REGISTER = 0xffn;

/** The memory that string instructions go through. */
export type Memory = Pick<BackendMemory, "read" | "write" | "patched">;

/** One request, from when it is taken until it is answered. */
export interface Request {
  /** The exit to be answered next. */
  exit: PortExit | MmioExit;
  /** IN and OUT of a register: RIP stands behind the instruction, and Xen puts the answer into RAX. */
  readonly simple: boolean;
  /** Whether the guest reads. */
  readonly read: boolean;
  /** Whether every exit of it is answered. */
  complete: boolean;
  /** Whether what the debugger sees, RAX, has the answer in it already: then the answer is what RAX has. */
  settled: boolean;
  /** Whether the vCPU was sent elsewhere since. */
  moved: boolean;
}

interface Fields {
  readonly address: bigint;
  /** The data, or where it lies in guest-physical memory. */
  readonly data: bigint;
  readonly pointer: boolean;
  readonly count: number;
  readonly size: number;
  /** From one element to the next, in bytes. */
  readonly stride: bigint;
  /** What the guest has written to port 0xcf8, where the access is one to configuration space. */
  readonly before?: PortExit["before"];
}

/** A vCPU's request page slot. */
export class RequestSlot {
  readonly #view: DataView;
  readonly #at: number;
  /** The request's data, little-endian. */
  readonly #data: Uint8Array;
  readonly #memory: Memory;
  #fields: Fields | undefined;
  #request: Request | undefined;
  /** Which element of a string instruction on MMIO is being answered. */
  #element = 0;

  /** @param vcpu Its number: where in the page its slot is. */
  constructor(view: DataView, vcpu: number, memory: Memory) {
    this.#view = view;
    this.#at = ioreq.size * vcpu;
    this.#data = new Uint8Array(view.buffer, view.byteOffset + this.#at + data, 8);
    this.#memory = memory;
  }

  /** The port of the domain's by which this vCPU is told of an answer, and tells of a request. */
  get remotePort(): number {
    return this.#view.getUint32(this.#at + ioreq.offsets.vp_eport, true);
  }

  /** Whether there is a request that was not taken. */
  get ready(): boolean {
    return (this.#view.getUint8(this.#at + bits) & IOREQ_STATE_MASK) === XEN.STATE_IOREQ_READY;
  }

  /** Makes a request that somebody took and never answered one that was not taken. */
  giveBack(): void {
    const state = this.#view.getUint8(this.#at + bits) & IOREQ_STATE_MASK;
    if (state === XEN.STATE_IOREQ_INPROCESS) this.#setState(XEN.STATE_IOREQ_READY);
  }

  /** The request that is being answered. */
  get request(): Request | undefined {
    return this.#request;
  }

  /**
   * Takes a request, and calls nothing once it is taken: see step_burst.ts. One of a kind that is nobody's here is answered
   * at once: then there is none.
   */
  take(): Request | undefined {
    const view = this.#view;
    const flags = view.getUint8(this.#at + bits);
    const kind = view.getUint8(this.#at + type);
    const config = kind === XEN.IOREQ_TYPE_PCI_CONFIG;
    const port = kind === XEN.IOREQ_TYPE_PIO || config;
    if (!port && kind !== XEN.IOREQ_TYPE_COPY) {
      this.#setState(XEN.STATE_IORESP_READY);
      return undefined;
    }
    const width = Math.max(1, Math.min(view.getUint32(this.#at + size, true), 8));
    const elements = Math.min(view.getUint32(this.#at + count, true), Math.floor(MOST_BYTES / width));
    const pointer = (flags & IOREQ_DATA_IS_PTR) !== 0;
    const read = (flags & IOREQ_DIR_READ) !== 0;
    const address = view.getBigUint64(this.#at + addr, true);
    const fields = this.#fields = {
      // What the guest did.
      address: config ? PCI_DATA | address & 3n : address,
      data: view.getBigUint64(this.#at + data, true),
      pointer,
      // STOS has the same data for each element.
      count: pointer || !port ? elements : 1,
      size: width,
      stride: BigInt((flags & IOREQ_DF) !== 0 ? -width : width),
      ...(config && { before: { port: PCI_ADDRESS, data: selection(address) } }),
    };
    this.#element = 0;
    const exit = port ? this.#portExit(fields, read) : this.#mmioExit(fields, read);
    this.#setState(XEN.STATE_IOREQ_INPROCESS);
    return this.#request = {
      exit,
      simple: port && !pointer,
      read,
      complete: false,
      settled: false,
      moved: false,
    };
  }

  /** Takes the answer to the last exit; gives the next one of the same request, undefined if there is none. */
  advance(): PortExit | MmioExit | undefined {
    const { request } = this;
    const fields = this.#fields;
    if (request === undefined || fields === undefined || request.complete) return undefined;
    const { exit } = request;
    if ("port" in exit) {
      if (request.read && fields.pointer) this.#scatter(fields, exit.data);
      else if (request.read) this.#setData(exit.data);
    } else {
      if (request.read && fields.pointer) this.#memory.write(this.#placeOf(fields, this.#element), exit.data);
      else if (request.read) this.#setData(exit.data);
      if (++this.#element < fields.count) return request.exit = this.#mmioExit(fields, request.read);
    }
    request.complete = true;
    return undefined;
  }

  /** The answer to a read, as Xen will take it; `set` changes it. */
  get answer(): bigint {
    return BigInt.asUintN(8 * this.#fields!.size, this.#view.getBigUint64(this.#at + data, true));
  }

  /** Bytes of one access. */
  get width(): number {
    return this.#fields!.size;
  }

  /** Puts another answer to a read there. */
  setAnswer(value: bigint): void {
    this.#view.setBigUint64(this.#at + data, BigInt.asUintN(8 * this.width, value), true);
  }

  /** Gives the request back to Xen, which lets the vCPU go on once it is told. */
  post(): void {
    while (this.advance() !== undefined);
    this.#setState(XEN.STATE_IORESP_READY);
    this.#request = undefined;
  }

  #setState(state: number): void {
    const flags = this.#view.getUint8(this.#at + bits);
    this.#view.setUint8(this.#at + bits, flags & ~IOREQ_STATE_MASK | state);
  }

  #portExit(fields: Fields, read: boolean): PortExit {
    const { address, size, count, pointer, before } = fields;
    const bytes = new Uint8Array(size * count);
    if (read) bytes.fill(0xff);
    else if (!pointer) bytes.set(this.#data.subarray(0, size));
    else {
      for (let i = 0; i < count; i++) {
        this.#memory.read(this.#placeOf(fields, i), bytes.subarray(i * size, (i + 1) * size));
      }
    }
    const kind = read ? "io-in" : "io-out";
    return { kind, port: Number(address & 0xffffn), size, count, data: bytes, ...(before && { before }) };
  }

  #mmioExit(fields: Fields, read: boolean): MmioExit {
    const { address, size, pointer, stride } = fields;
    const bytes = new Uint8Array(size);
    if (read) bytes.fill(0xff);
    else if (pointer) this.#memory.read(this.#placeOf(fields, this.#element), bytes);
    else bytes.set(this.#data.subarray(0, size));
    return {
      kind: read ? "mmio-read" : "mmio-write",
      address: address + BigInt(this.#element) * stride,
      data: bytes,
    };
  }

  #scatter(fields: Fields, bytes: Uint8Array): void {
    const { size, count } = fields;
    for (let i = 0; i < count; i++) {
      this.#memory.write(this.#placeOf(fields, i), bytes.subarray(i * size, (i + 1) * size));
    }
  }

  #placeOf({ data, stride }: Fields, element: number): bigint {
    return data + BigInt(element) * stride;
  }

  #setData(bytes: Uint8Array): void {
    this.#view.setBigUint64(this.#at + data, 0n, true);
    this.#data.set(bytes);
  }
}

/**
 * What the guest wrote to port 0xcf8: Xen keeps that in mind, and tells the function (segment, bus, device, function) in
 * the upper half of the address, the register in the lower one (xen/hvm/ioreq.h). Registers that only AMD's extension
 * of the mechanism reaches are nobody's.
 */
function selection(address: bigint): Uint8Array {
  const register = address & 0xffff_ffffn;
  const place = address >> 32n & 0xffffn;
  const enable = register <= LAST_REGISTER ? PCI_ENABLE_BIT : 0;
  const written = new Uint8Array(4);
  new DataView(written.buffer).setUint32(0, enable + Number(place << 8n | register & 0xfcn), true);
  return written;
}
