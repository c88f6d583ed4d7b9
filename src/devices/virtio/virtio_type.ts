/** What a virtio device does, apart from how it is found and configured: block, network, or one of the user's. */
import type { DeviceHost } from "../../vm/device.ts";
import type { Chain } from "./chain.ts";
import type { VirtQueue } from "./queue.ts";

/** What a device type gets of the device it is part of, from DRIVER_OK until the next reset. */
export interface VirtioLink {
  /** The feature bits that driver and device agreed on. */
  readonly features: bigint;
  /** Queue `index`, undefined while the driver has not set it up. */
  queue(index: number): VirtQueue | undefined;
  /**
   * Gives `chain` back on queue `index`, with others `behind` it that the driver shall see at the same time, and
   * notifies the driver if it wants that. For types that answer later; what `request` answers at once is given back
   * by the device itself.
   */
  complete(index: number, chain: Chain, behind?: readonly Chain[]): void;
  /** Tells the driver that configuration space has changed (virtio 1.2, 2.5). */
  configChanged(): void;
  /**
   * Runs `work`, which touches queues from outside of a request. What the driver did wrong sets
   * DEVICE_NEEDS_RESET, as in a request.
   */
  work(work: () => void): void;
}

/**
 * A device type: a plain object or a class. Queues, features, notifications and both transports are done for it.
 *
 * @example
 * ```ts
 * import type { VirtioType } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * // Gives every request its own bytes back, in capitals.
 * const upper: VirtioType = {
 *   name: "upper",
 *   id: 42,
 *   queues: [16],
 *   request(chain) {
 *     const text = new TextDecoder().decode(chain.readAll(4096));
 *     chain.write(0, new TextEncoder().encode(text.toUpperCase()));
 *   },
 * };
 * assert.equal(upper.queues.length, 1);
 * ```
 */
export interface VirtioType {
  /** Unique among a machine's devices. */
  readonly name: string;
  /** Device ID (virtio 1.2, 5). */
  readonly id: number;
  /** The largest size of each queue: powers of 2, at most 32768. */
  readonly queues: readonly number[];
  /** The type's own feature bits, 0 to 23 and 50 to 127; none if left out. */
  readonly features?: bigint;
  /** Names of those bits, for listings. */
  readonly featureNames?: ReadonlyMap<number, string>;
  /** Bytes of configuration space; 0 if left out. */
  readonly configBytes?: number;
  /** The driver reads configuration space. Fill `data`; it lies inside the space. */
  readConfig?(offset: number, data: Uint8Array): void;
  /** The driver writes configuration space. */
  writeConfig?(offset: number, data: Uint8Array): void;
  /**
   * A chain that the driver made available on queue `index`. Return nothing and it is given back with what was
   * written to it; return "later" and `VirtioLink.complete` gives it back; "wait" leaves it in the queue, to be
   * taken by the type's own `work` (a receive queue).
   */
  request(chain: Chain, index: number): void | "later" | "wait";
  /**
   * What a chain of queue `index` asks for, in a few words: for traces and listings. Called before `request`, and at
   * any time for chains that wait; changes nothing. A function is called when somebody wants to know, which is for one
   * request of many: by then the chain is not the device's any more.
   *
   * @throws {FaultError} If a descriptor points where no memory is.
   */
  describe?(chain: Chain, index: number): string | (() => string) | undefined;
  /** It becomes part of a machine. @throws {InputError} If it can't: an image that is not there, say. */
  attach?(host: DeviceHost): void;
  /** It is taken out, or the machine closes. */
  detach?(): void;
  /** DRIVER_OK: the driver is ready. */
  start?(link: VirtioLink): void;
  /** The driver reset the device, or the machine was: all requests are forgotten. */
  stop?(): void;
  /** The type's own state as a record, for requests not yet given back none. */
  save?(): unknown;
  /** Takes what `save` gave. @throws {InputError} */
  restore?(state: unknown): void;
  /** What listings show beside the queues. */
  inspect?(): Readonly<Record<string, number | bigint | string>>;
}

/** A virtio device as whoever looks at it from outside sees it. */
export interface VirtioView {
  /** What it does. */
  readonly type: VirtioType;
  /** Device status (virtio 1.2, 2.1). */
  readonly status: number;
  /** Feature bits that the driver accepted. */
  readonly accepted: bigint;
  /** Why it needs a reset, if it does. */
  readonly fault: string | undefined;
  /** Whether the driver is ready and has done nothing wrong. */
  readonly live: boolean;
  /** Its queues: whether the driver has enabled each. */
  readonly setups: readonly { readonly ready: boolean }[];
  /** Status, features and queues by name. */
  inspect(): Record<string, number | bigint | string>;
  /**
   * The chains that queue `index` holds and the device has not taken, at most `limit` of them; nothing changes.
   *
   * @returns undefined while the driver has not enabled the queue.
   * @throws {DriverFault} @throws {FaultError} If what the driver wrote makes no sense.
   */
  waiting(index: number, limit: number): readonly Chain[] | undefined;
}
