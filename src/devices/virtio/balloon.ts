/** The memory balloon (virtio 1.2, 5.5): pages that the guest lends to the host. */
import type { DeviceHost } from "../../vm/device.ts";
import { InputError, StateError, TimeoutError } from "../../vm/errors.ts";
import { bits, record } from "../state.ts";
import { type BalloonStatistics, readStatistics } from "./balloon_statistics.ts";
import type { Chain } from "./chain.ts";
import { readConfigBytes } from "./config_bytes.ts";
import { DriverFault } from "./driver_fault.ts";
import { PageRuns } from "./page_runs.ts";
import { takeChain } from "./queue.ts";
import { DEVICE_ID } from "./spec.ts";
import type { VirtioLink, VirtioType } from "./virtio_type.ts";

/** Feature bits (5.5.3). */
const FEATURE = { STATS_VQ: 1n << 1n, DEFLATE_ON_OOM: 1n << 2n, REPORTING: 1n << 5n } as const;

/** Names of the feature bits, for listings. */
const FEATURE_NAMES = new Map([[1, "STATS_VQ"], [2, "DEFLATE_ON_OOM"], [5, "REPORTING"]]);

/** Offsets in configuration space (5.5.4). */
const CONFIG = { num_pages: 0, actual: 4 } as const;
const CONFIG_BYTES = 16;

const INFLATE = 0;
const DEFLATE = 1;
const STATISTICS = 2;
/** Queues that there are: a queue of a feature that was not negotiated leaves no gap in Linux, but one in 5.5.2. */
const QUEUES = 5;
const QUEUE_SIZE = 128;
/** The balloon's pages, whatever the guest's are (5.5.6). */
const PAGE_BYTES = 4096;
/** Bytes of page numbers in one request: 16,384 of them, 64 times Linux's. */
const REQUEST_LIMIT = 1 << 16;
const STATISTICS_LIMIT = 4096;
const DEFAULT_TIMEOUT_MS = 5_000;

/** How a balloon is made. */
export interface VirtioBalloonOptions {
  /** Unique among a machine's devices; "balloon0" if left out. */
  readonly name?: string;
  /** Whether the guest may take pages back when it runs out of memory; true if left out. */
  readonly deflateOnOom?: boolean;
  /** Whether the guest tells of free pages by itself; true if left out. */
  readonly reporting?: boolean;
}

/** Who waits for statistics. */
interface Waiter {
  resolve(statistics: BalloonStatistics): void;
  reject(error: Error): void;
}

/** A balloon. Its pages, and free ones that are reported, go back to the host. */
export class VirtioBalloon implements VirtioType {
  readonly name: string;
  readonly id: number = DEVICE_ID.balloon;
  readonly queues: readonly number[] = new Array<number>(QUEUES).fill(QUEUE_SIZE);
  readonly features: bigint;
  readonly featureNames: ReadonlyMap<number, string> = FEATURE_NAMES;
  readonly configBytes: number = CONFIG_BYTES;
  #host: DeviceHost | undefined;
  #link: VirtioLink | undefined;
  /** Pages that the guest shall lend, and those it says it does. */
  #wanted = 0;
  #actual = 0;
  #discarded = 0;
  #reported = 0;
  #statistics: BalloonStatistics | undefined;
  readonly #waiters = new Set<Waiter>();

  /**
   * A balloon for `virtio()`.
   *
   * @param options What it offers.
   */
  constructor(options: VirtioBalloonOptions = {}) {
    const { name = "balloon0", deflateOnOom = true, reporting = true } = options;
    this.name = name;
    this.features = FEATURE.STATS_VQ | (deflateOnOom ? FEATURE.DEFLATE_ON_OOM : 0n) |
      (reporting ? FEATURE.REPORTING : 0n);
  }

  /** Bytes that the guest is asked to lend, in whole pages. */
  get target(): number {
    return this.#wanted * PAGE_BYTES;
  }

  /**
   * Asks the guest to lend so much from now on: it inflates or deflates in its own time.
   *
   * @throws {InputError} If it is no size.
   */
  set target(bytes: number) {
    const pages = Math.floor(bytes / PAGE_BYTES);
    if (!Number.isFinite(bytes) || pages < 0 || pages > 0xffff_ffff) {
      throw new InputError(`a balloon can't have ${bytes} bytes`, { remedy: "give 0 to 16 TiB" });
    }
    if (pages === this.#wanted) return;
    this.#wanted = pages;
    this.#link?.configChanged();
  }

  /** Bytes that the guest says it lends. */
  get actual(): number {
    return this.#actual * PAGE_BYTES;
  }

  /**
   * Asks the guest for its statistics and waits for them; it must be running.
   *
   * @throws {StateError} If no driver is there that gives any.
   * @throws {TimeoutError} After `timeoutMs`, 5 s if left out.
   */
  statistics(options: { readonly timeoutMs?: number } = {}): Promise<BalloonStatistics> {
    const { timeoutMs = DEFAULT_TIMEOUT_MS } = options;
    if (((this.#link?.features ?? 0n) & FEATURE.STATS_VQ) === 0n) {
      return Promise.reject(
        new StateError(`no driver of ${this.name} gives statistics`, "no driver", {
          remedy: "let the guest load its driver (Linux: virtio_balloon) first",
        }),
      );
    }
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        resolve: (statistics) => {
          clearTimeout(timer);
          resolve(statistics);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        reject(
          new TimeoutError(`${this.name} got no statistics within ${timeoutMs} ms`, {
            remedy: "call continue() beside it: a guest that stands still answers nothing",
          }),
        );
      }, timeoutMs);
      this.#waiters.add(waiter);
      this.#askForStatistics();
    });
  }

  attach(host: DeviceHost): void {
    this.#host = host;
  }

  detach(): void {
    this.#host = undefined;
  }

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(CONFIG_BYTES, offset, data, (config) => {
      config.setUint32(CONFIG.num_pages, this.#wanted, true);
      config.setUint32(CONFIG.actual, this.#actual, true);
    });
  }

  writeConfig(offset: number, data: Uint8Array): void {
    if (offset !== CONFIG.actual || data.length !== 4) return;
    this.#actual = new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true);
  }

  start(link: VirtioLink): void {
    this.#link = link;
  }

  /** A driver that goes has taken its pages back. */
  stop(): void {
    this.#link = undefined;
    this.#actual = 0;
    this.#statistics = undefined;
    for (const { reject } of this.#waiters) {
      reject(new StateError(`the driver of ${this.name} is gone`, "no driver"));
    }
    this.#waiters.clear();
  }

  request(chain: Chain, index: number): void | "wait" {
    const { features } = this.#link!;
    if (index === STATISTICS && (features & FEATURE.STATS_VQ) !== 0n) {
      // The buffer stays until statistics are asked for: giving it back is asking (5.5.6.3).
      this.#take(readStatistics(chain.readAll(STATISTICS_LIMIT)));
      return "wait";
    }
    if (index === INFLATE) this.#inflate(chain);
    else if (index > DEFLATE && (features & FEATURE.REPORTING) !== 0n) this.#report(chain);
    // Pages that come back take memory when they are written: deflating needs nothing done.
  }

  save(): unknown {
    return { wanted: this.#wanted, actual: this.#actual };
  }

  restore(saved: unknown): void {
    const { wanted, actual } = record({ wanted: bits(32), actual: bits(32) })(saved, this.name);
    this.stop();
    this.#wanted = wanted;
    this.#actual = actual;
  }

  inspect(): Record<string, number | bigint | string> {
    return {
      target: this.target,
      actual: this.actual,
      givenBack: this.#discarded,
      reported: this.#reported,
      memory: this.#host?.discard === undefined ? "stays with the guest on this backend" : "goes to the host",
      ...this.#statistics,
    };
  }

  #inflate(chain: Chain): void {
    const { readableBytes } = chain;
    if (readableBytes > REQUEST_LIMIT) {
      throw new DriverFault(`${readableBytes} bytes of page numbers at once, more than ${REQUEST_LIMIT}`);
    }
    const bytes = chain.readAll(REQUEST_LIMIT);
    const view = new DataView(bytes.buffer);
    const runs = new PageRuns((at, length) => this.#giveBack(at, length));
    for (let i = 0; i + 4 <= bytes.length; i += 4) runs.add(view.getUint32(i, true));
    runs.end();
  }

  /** The buffers are the free pages themselves (5.5.6.7); what is no whole page stays. */
  #report(chain: Chain): void {
    for (const { at, length } of chain.writable) {
      const first = (at + BigInt(PAGE_BYTES - 1)) / BigInt(PAGE_BYTES) * BigInt(PAGE_BYTES);
      const whole = Math.floor((Number(at - first) + length) / PAGE_BYTES) * PAGE_BYTES;
      if (whole <= 0) continue;
      this.#giveBack(first, whole);
      this.#reported += whole;
    }
  }

  #giveBack(at: bigint, length: number): void {
    if (this.#host?.discard === undefined) return;
    this.#host.discard(at, length);
    this.#discarded += length;
  }

  #take(statistics: BalloonStatistics): void {
    this.#statistics = statistics;
    // The first buffer comes unasked; it answers whoever waits as well as any.
    for (const { resolve } of this.#waiters) resolve(statistics);
    this.#waiters.clear();
  }

  #askForStatistics(): void {
    this.#link?.work(() => {
      const queue = this.#link?.queue(STATISTICS);
      const chain = queue && takeChain(queue);
      if (queue === undefined || chain === undefined) return;
      queue.askForKick();
      this.#link?.complete(STATISTICS, chain);
    });
  }
}
