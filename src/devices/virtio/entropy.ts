/** The entropy device (virtio 1.2, 5.4): random bytes of the host's. */
import type { Chain } from "./chain.ts";
import { DEVICE_ID } from "./spec.ts";
import type { VirtioType } from "./virtio_type.ts";

/** Bytes given for one request at most; the driver asks again. Also what getRandomValues gives in one call. */
const MOST_BYTES = 65536;

/** How random numbers come to the guest. */
export interface VirtioEntropyOptions {
  /** Unique among a machine's devices; "rng0" if left out. */
  readonly name?: string;
  /** Fills `into`; the host's cryptographic generator if left out. A test may want known numbers. */
  readonly source?: (into: Uint8Array<ArrayBuffer>) => void;
}

/** Random numbers. */
export class VirtioEntropy implements VirtioType {
  readonly name: string;
  readonly id: number = DEVICE_ID.entropy;
  readonly queues: readonly number[] = [64];
  readonly #source: (into: Uint8Array<ArrayBuffer>) => void;
  #given = 0;

  /** @param options What it is made of. */
  constructor(options: VirtioEntropyOptions = {}) {
    this.name = options.name ?? "rng0";
    this.#source = options.source ?? ((into) => void crypto.getRandomValues(into));
  }

  request(chain: Chain): void {
    const bytes = new Uint8Array(Math.min(chain.writableBytes, MOST_BYTES));
    this.#source(bytes);
    chain.write(0, bytes);
    this.#given += bytes.length;
  }

  inspect(): Record<string, number> {
    return { bytesGiven: this.#given };
  }
}
