import type { AccessExit, MmioExit, MsrExit, PortExit } from "../exit.ts";
import { NeedAccess } from "./signals.ts";

/**
 * The accesses of one instruction that are answered from outside.
 *
 * An instruction that needs an answer is thrown away and executed again from its start once the answer is
 * there; then it finds what was answered before in here, in the same order. Registers were rolled back and a
 * store to memory has the same effect twice, so that the guest can't tell.
 */
export class AccessLog {
  #answers: Uint8Array[] = [];
  #cursor = 0;
  #pending: AccessExit | undefined;
  #failed = false;

  /** The exit whose answer is awaited. */
  get pending(): AccessExit | undefined {
    return this.#pending;
  }

  /** Before an instruction is executed, again or for the first time. */
  rewind(): void {
    this.#cursor = 0;
  }

  /** The instruction is done, or an iteration of a repeated one. */
  clear(): void {
    if (this.#answers.length > 0) this.#answers = [];
    this.#cursor = 0;
    this.#failed = false;
    this.#pending = undefined;
  }

  /** The instruction stopped for `exit`. */
  wait(exit: AccessExit): void {
    this.#pending = exit;
  }

  /** Takes the answer that was left in the pending exit's data. */
  answer(): void {
    if (this.#pending === undefined) return;
    this.#answers.push(this.#pending.data.slice());
    this.#pending = undefined;
  }

  /** IN and INS. */
  portIn(port: number, size: number): bigint {
    return number(this.#take(() => portExit("io-in", port, new Uint8Array(size).fill(0xff))));
  }

  /** OUT and OUTS. */
  portOut(port: number, size: number, value: bigint): void {
    this.#take(() => portExit("io-out", port, bytes(value, size)));
  }

  /** A read of a guest-physical address without memory. */
  mmioRead(address: number, size: number): bigint {
    return number(this.#take(() => mmioExit("mmio-read", address, new Uint8Array(size).fill(0xff))));
  }

  /** A write to a guest-physical address without memory, or to memory that the guest can't write. */
  mmioWrite(address: number, size: number, value: bigint): void {
    this.#take(() => mmioExit("mmio-write", address, bytes(value, size)));
  }

  /** RDMSR that the debugger wants to see; undefined if it is to fail. */
  msrRead(index: number): bigint | undefined {
    const data = this.#take(() => this.#msrExit("msr-read", index, new Uint8Array(8)));
    return this.#failed ? undefined : number(data);
  }

  /** WRMSR that the debugger wants to see; false if it is to fail. */
  msrWrite(index: number, value: bigint): boolean {
    this.#take(() => this.#msrExit("msr-write", index, bytes(value, 8)));
    return !this.#failed;
  }

  #take(exit: () => AccessExit): Uint8Array {
    if (this.#cursor < this.#answers.length) return this.#answers[this.#cursor++];
    throw new NeedAccess(exit());
  }

  #msrExit(kind: MsrExit["kind"], index: number, data: Uint8Array): MsrExit {
    const fail = () => {
      this.#failed = true;
    };
    return { kind, index, reason: "filter", data, fail };
  }
}

function portExit(kind: PortExit["kind"], port: number, data: Uint8Array): PortExit {
  return { kind, port, size: data.length, count: 1, data };
}

function mmioExit(kind: MmioExit["kind"], address: number, data: Uint8Array): MmioExit {
  return { kind, address: BigInt(address), data };
}

/** `value` as `size` bytes, little-endian. */
function bytes(value: bigint, size: number): Uint8Array {
  const out = new Uint8Array(8);
  new DataView(out.buffer).setBigUint64(0, value, true);
  return out.subarray(0, size);
}

function number(data: Uint8Array): bigint {
  let value = 0n;
  for (let i = data.length - 1; i >= 0; i--) value = value << 8n | BigInt(data[i]);
  return value;
}
