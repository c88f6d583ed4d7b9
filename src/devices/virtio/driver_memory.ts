/** Little-endian numbers and copies in the driver's memory, which is where all of virtio's structures lie. */
import type { DeviceHost } from "../../vm/device.ts";

/** An atomic operation of any word is a full fence to the processor. */
const FENCE = new Int32Array(new SharedArrayBuffer(4));

/** Guest-physical memory as a device of virtio 1.2 sees it: all numbers little-endian (1.4). */
export class DriverMemory {
  readonly #host: DeviceHost;
  readonly #bytes = new Uint8Array(16);
  readonly #view = new DataView(this.#bytes.buffer);
  readonly #byLength = [2, 4, 8, 16].map((length) => this.#bytes.subarray(0, length));
  /** Grows to the longest table that was read. */
  #table = new Uint8Array(0);

  /** @param host The machine whose memory it is. */
  constructor(host: DeviceHost) {
    this.#host = host;
  }

  /** Fills `into` from `at`. @throws {FaultError} If a byte is no memory. */
  read(at: bigint, into: Uint8Array): void {
    this.#host.read(at, into);
  }

  /** Stores `bytes` at `at`. @throws {FaultError} If a byte is no memory. */
  write(at: bigint, bytes: Uint8Array): void {
    this.#host.write(at, bytes);
  }

  /** `length` bytes from `at` as the guest has them, to be filled at once; undefined where there is no such view. */
  window(at: bigint, length: number): Uint8Array | undefined {
    return this.#host.window?.(at, length);
  }

  /** 16 bits at `at`. @throws {FaultError} */
  u16(at: bigint): number {
    this.#host.read(at, this.#byLength[0]);
    return this.#view.getUint16(0, true);
  }

  /** 32 bits at `at`. @throws {FaultError} */
  u32(at: bigint): number {
    this.#host.read(at, this.#byLength[1]);
    return this.#view.getUint32(0, true);
  }

  /** The 16 bytes of a descriptor at `at`; valid until the next call of anything here. @throws {FaultError} */
  descriptor(at: bigint): DataView {
    this.#host.read(at, this.#byLength[3]);
    return this.#view;
  }

  /** The `length` bytes of a table at `at`, as they are now; valid until the next call of this. @throws {FaultError} */
  table(at: bigint, length: number): DataView {
    if (this.#table.length < length) this.#table = new Uint8Array(length);
    const bytes = this.#table.length === length ? this.#table : this.#table.subarray(0, length);
    this.#host.read(at, bytes);
    return new DataView(bytes.buffer, 0, length);
  }

  /** Stores 16 bits. @throws {FaultError} */
  putU16(at: bigint, value: number): void {
    this.#view.setUint16(0, value, true);
    this.#host.write(at, this.#byLength[0]);
  }

  /**
   * What was stored before is seen by the driver before anything is loaded after. Needed where either side says
   * something and then looks at what the other said (2.7.10, 2.7.13.4.1): a processor may do the load first.
   */
  fence(): void {
    Atomics.add(FENCE, 0, 0);
  }

  /** Stores two numbers of 32 bits, one behind the other, in one write. @throws {FaultError} */
  putPair(at: bigint, first: number, second: number): void {
    this.#view.setUint32(0, first, true);
    this.#view.setUint32(4, second, true);
    this.#host.write(at, this.#byLength[2]);
  }
}
