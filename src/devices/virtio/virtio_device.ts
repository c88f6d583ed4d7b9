/**
 * A virtio device without its transport: status, feature negotiation, queues (virtio 1.2, 2 and 3). Both transports
 * drive one of these.
 */
import type { DeviceHost } from "../../vm/device.ts";
import { FaultError, InputError } from "../../vm/errors.ts";
import type { Chain } from "./chain.ts";
import { DriverFault } from "./driver_fault.ts";
import { DriverMemory } from "./driver_memory.ts";
import { PackedQueue } from "./packed_queue.ts";
import type { QueueProgress, VirtQueue } from "./queue.ts";
import { QueueSetup } from "./queue_setup.ts";
import { DEVICE_SHAPE, type DeviceState } from "./device_state.ts";
import { FEATURE, FEATURE_NAMES, QUEUE_SIZE_LIMIT, STATUS } from "./spec.ts";
import { SplitQueue } from "./split_queue.ts";
import { record } from "../state.ts";
import type { VirtioLink, VirtioType } from "./virtio_type.ts";

/** How the device reaches its driver: the transport's part. */
export interface Notifier {
  /** Queue `index` has used buffers. */
  queue(index: number): void;
  /** Configuration space or status has changed. */
  config(): void;
  /** Whether the device may reach memory now; it always may if left out. */
  mayReachMemory?(): boolean;
}

/** What a device offers of the reserved features. */
export interface VirtioOptions {
  /** Whether packed rings are offered; true if left out. */
  readonly packed?: boolean;
  /** Whether indirect descriptors are offered; true if left out. */
  readonly indirect?: boolean;
  /** Whether notifications by event index are offered; true if left out. */
  readonly eventIndex?: boolean;
  /** Called with each request before the type sees it: for tracing and breaks. */
  readonly onRequest?: (request: VirtioRequest) => void;
}

/** A request as tracing sees it. */
export interface VirtioRequest {
  /** The device's name. */
  readonly device: string;
  /** Its queue. */
  readonly queue: number;
  /** What the driver handed over. */
  readonly chain: Chain;
}

/** A virtio device, ready for a transport. */
export class VirtioDevice {
  /** What it does. */
  readonly type: VirtioType;
  /** One for each queue. */
  readonly setups: readonly QueueSetup[];
  /** Counts changes of configuration space (4.2.2: ConfigGeneration). */
  generation = 0;
  /** Why it needs a reset, if it does. */
  fault: string | undefined;
  readonly #notifier: Notifier;
  readonly #onRequest: ((request: VirtioRequest) => void) | undefined;
  /** The reserved feature bits it offers. */
  readonly #reserved: bigint;
  #memory: DriverMemory | undefined;
  #host: DeviceHost | undefined;
  #status = 0;
  #accepted = 0n;
  /** Undefined where the driver has not enabled one. */
  #queues: (VirtQueue | undefined)[] = [];
  /** Whether the user was told of a fault: a driver can make them without end. */
  #told = false;
  /** Queues that are served again as soon as others have had the thread. */
  readonly #again = new Set<number>();
  /** Counts resets: what was begun before the last one is forgotten. */
  #life = 0;

  /** @throws {InputError} If the type's description makes no sense. */
  constructor(type: VirtioType, notifier: Notifier, options: VirtioOptions = {}) {
    checkType(type);
    const { packed = true, indirect = true, eventIndex = true, onRequest } = options;
    this.type = type;
    this.#notifier = notifier;
    this.#onRequest = onRequest;
    this.#reserved = FEATURE.VERSION_1 |
      (packed ? FEATURE.RING_PACKED : 0n) | (indirect ? FEATURE.INDIRECT_DESC : 0n) |
      (eventIndex ? FEATURE.EVENT_IDX : 0n);
    this.setups = type.queues.map((most) => new QueueSetup(most));
  }

  /** Feature bits it offers. */
  get offered(): bigint {
    return (this.type.features ?? 0n) | this.#reserved;
  }

  /** Device status (2.1). */
  get status(): number {
    return this.#status;
  }

  /** Feature bits that the driver accepted. */
  get accepted(): bigint {
    return this.#accepted;
  }

  /** Whether the driver is ready and has done nothing wrong. */
  get live(): boolean {
    return (this.#status & STATUS.DRIVER_OK) !== 0 && (this.#status & STATUS.DEVICE_NEEDS_RESET) === 0;
  }

  /** The machine's memory comes (attach) or goes (undefined). */
  connect(host: DeviceHost | undefined): void {
    if (host === undefined) {
      this.reset();
      this.type.detach?.();
    } else this.type.attach?.(host);
    this.#host = host;
    this.#told = false;
    this.#memory = host && new DriverMemory(host);
  }

  /** The driver writes `value` to 32 feature bits; ignored once FEATURES_OK is set (3.1.1). */
  accept(half: number, value: number): void {
    if (half > 1 || (this.#status & STATUS.FEATURES_OK) !== 0) return;
    const shift = BigInt(32 * half);
    this.#accepted = this.#accepted & ~(0xffff_ffffn << shift) | BigInt(value >>> 0) << shift;
  }

  /** The 32 feature bits that the driver chose to see. */
  offer(half: number): number {
    return half > 1 ? 0 : Number(this.offered >> BigInt(32 * half) & 0xffff_ffffn);
  }

  /** The driver writes the device status: 0 is a reset, else bits are added (2.1.1). */
  setStatus(value: number): void {
    if (value === 0) return this.reset();
    // The driver can't set NEEDS_RESET, and what it leaves out stays (2.1.1: it must not clear a bit).
    const added = value & ~STATUS.DEVICE_NEEDS_RESET & ~this.#status & 0xff;
    let status = this.#status | added;
    if (added & STATUS.FEATURES_OK && !this.#featuresFit()) status &= ~STATUS.FEATURES_OK;
    this.#status = status;
    if (added & STATUS.DRIVER_OK) this.#start();
  }

  /** The driver says that queue `index` has something new. */
  kicked(index: number): void {
    if (!this.live || this.#queues[index] === undefined) return;
    this.#guarded(() => this.#serve(index));
  }

  /** The driver enables queue `index`, or takes it away where the transport allows it. */
  enableQueue(index: number, on: boolean): void {
    const setup = this.setups[index];
    if (setup === undefined || setup.ready === on) return;
    setup.ready = on;
    if (!on) this.#queues[index] = undefined;
    else if ((this.#status & STATUS.DRIVER_OK) !== 0) this.#guarded(() => this.#makeQueue(index));
  }

  /** As after power-on (2.4). */
  reset(): void {
    const started = (this.#status & STATUS.DRIVER_OK) !== 0;
    this.#life++;
    this.#status = 0;
    this.#accepted = 0n;
    this.#queues = [];
    this.fault = undefined;
    for (const setup of this.setups) setup.reset();
    if (started) this.type.stop?.();
  }

  /** Bytes of configuration space; outside of it zeros. */
  readConfig(offset: number, data: Uint8Array): void {
    data.fill(0);
    const room = (this.type.configBytes ?? 0) - offset;
    if (room > 0) this.type.readConfig?.(offset, data.length > room ? data.subarray(0, room) : data);
  }

  /** Writes outside of configuration space have no effect. */
  writeConfig(offset: number, data: Uint8Array): void {
    if (offset + data.length <= (this.type.configBytes ?? 0)) this.type.writeConfig?.(offset, data);
  }

  /** The whole state as a record. */
  save(): DeviceState {
    return {
      status: this.#status,
      accepted: this.#accepted.toString(),
      fault: this.fault ?? "",
      generation: this.generation,
      queues: this.setups.map((setup, i) => ({ ...setup.save(), progress: this.#progress(i) })),
      type: this.type.save?.() ?? null,
    };
  }

  /** Takes a record. @throws {InputError} If it is damaged or of another device; nothing has changed then. */
  restore(saved: unknown): void {
    const state = record(DEVICE_SHAPE)(saved, this.type.name);
    if (state.queues.length !== this.setups.length) {
      throw new InputError(`The saved ${this.type.name} has ${state.queues.length} queues`, {
        remedy: "restore a record that save() of the same device gave",
      });
    }
    this.type.restore?.(state.type);
    this.#life++;
    this.#status = state.status;
    this.#accepted = BigInt(state.accepted);
    this.fault = state.fault === "" ? undefined : state.fault;
    this.generation = state.generation;
    this.#queues = [];
    for (const [i, queue] of state.queues.entries()) this.setups[i].restore(queue);
    if ((this.#status & STATUS.DRIVER_OK) === 0) return;
    this.#caught(() => {
      for (const [i, { progress }] of state.queues.entries()) {
        if (this.setups[i].ready) this.#makeQueue(i).restore(progress);
      }
      this.type.start?.(this.#link());
    });
  }

  /** Status, features and queues by name. */
  inspect(): Record<string, number | bigint | string> {
    const shown: Record<string, number | bigint | string> = {
      status: this.#status,
      statusBits: names(STATUS, this.#status),
      features: this.#accepted,
      featureBits: this.#featureNames(),
    };
    if (this.fault !== undefined) shown.fault = this.fault;
    for (const [i, setup] of this.setups.entries()) {
      const of = this.#queues[i]?.inspect() ?? { size: setup.place.size, ready: Number(setup.ready) };
      for (const [name, value] of Object.entries(of)) shown[`queue${i}.${name}`] = value;
    }
    return { ...shown, ...this.type.inspect?.() };
  }

  /**
   * The chains that queue `index` holds and the device has not taken, at most `limit` of them; nothing changes.
   *
   * @returns undefined while the driver has not enabled the queue.
   * @throws {DriverFault} @throws {FaultError} If what the driver wrote makes no sense.
   */
  waiting(index: number, limit: number): Chain[] | undefined {
    const queue = this.#queues[index];
    if (queue === undefined) return undefined;
    const progress = queue.save();
    const chains: Chain[] = [];
    try {
      while (chains.length < limit) {
        const chain = queue.pop();
        if (chain === undefined) break;
        chains.push(chain);
      }
    } finally {
      queue.restore(progress);
    }
    return chains;
  }

  #featuresFit(): boolean {
    // A driver that does not take VERSION_1 is a legacy one, which these transports do not serve (6.1).
    return (this.#accepted & ~this.offered) === 0n && (this.#accepted & FEATURE.VERSION_1) !== 0n;
  }

  #start(): void {
    if ((this.#status & STATUS.FEATURES_OK) === 0) {
      return this.#fail("DRIVER_OK was set without FEATURES_OK");
    }
    this.#guarded(() => {
      for (const [i, { ready }] of this.setups.entries()) if (ready) this.#makeQueue(i);
      this.type.start?.(this.#link());
    });
  }

  #makeQueue(index: number): VirtQueue {
    if (this.#memory === undefined) throw new DriverFault("the device is not part of a machine");
    const has = (feature: bigint) => (this.#accepted & feature) !== 0n;
    const Format = has(FEATURE.RING_PACKED) ? PackedQueue : SplitQueue;
    const { place, most } = this.setups[index];
    if (place.size > most) {
      throw new DriverFault(`queue ${index} has ${place.size} entries, at most ${most} can be`);
    }
    return this.#queues[index] = new Format(this.#memory, { ...place }, {
      eventIndex: has(FEATURE.EVENT_IDX),
      indirect: has(FEATURE.INDIRECT_DESC),
    });
  }

  /**
   * Hands over what waits, until nothing does. A driver that goes on meanwhile may refill its queue for ever: after as
   * many chains as that holds others have the thread, and the rest comes behind them, unasked.
   */
  #serve(index: number): void {
    const life = this.#life;
    for (let served = 0;; served++) {
      const queue = this.#queues[index];
      if (queue === undefined) return;
      if (served > queue.size && this.#serveAgain(index)) break;
      const chain = queue.pop();
      if (chain === undefined) {
        queue.askForKick();
        // What came between the last look and the asking was not kicked for (2.7.10).
        const late = queue.pop();
        if (late === undefined) break;
        queue.unpop(late);
        continue;
      }
      this.#onRequest?.({ device: this.type.name, queue: index, chain });
      const what = this.#host?.requested && this.type.describe?.(chain, index);
      const answer = this.type.request(chain, index);
      if (answer !== "wait") this.#tell(chain, index, what);
      if (life !== this.#life || !this.live) return;
      if (answer === "wait") {
        queue.unpop(chain);
        break;
      }
      if (answer !== "later") queue.push(chain);
    }
    this.#interrupt(index);
  }

  /** Serves queue `index` from the run loop, as if it were kicked for. @returns False where there is no clock. */
  #serveAgain(index: number): boolean {
    const clock = this.#host?.clock;
    if (clock === undefined) return false;
    if (this.#again.has(index)) return true;
    this.#again.add(index);
    clock.schedule(0n, () => {
      this.#again.delete(index);
      this.kicked(index);
    });
    return true;
  }

  #tell(
    { readableBytes: given, writableBytes: room }: Chain,
    queue: number,
    what: string | (() => string) | undefined,
  ): void {
    const host = this.#host;
    if (host?.requested === undefined) return;
    host.requested(what === undefined ? { queue, given, room } : { queue, given, room, what });
  }

  #interrupt(index: number): void {
    if (this.#queues[index]?.wantsInterrupt()) this.#notifier.queue(index);
  }

  #link(): VirtioLink {
    const life = this.#life;
    const alive = () => life === this.#life && this.live;
    return {
      features: this.#accepted,
      queue: (index) => alive() ? this.#queues[index] : undefined,
      complete: (index, chain, behind) => {
        if (!alive()) return;
        this.#guarded(() => {
          this.#queues[index]?.push(chain, behind);
          this.#interrupt(index);
        });
      },
      configChanged: () => {
        this.generation = (this.generation + 1) >>> 0;
        if (alive()) this.#notifier.config();
      },
      work: (work) => {
        if (alive()) this.#guarded(work);
      },
    };
  }

  /** Does what reaches into the driver's memory, if the transport lets it. */
  #guarded(work: () => void): void {
    this.#caught(() => {
      if (this.#notifier.mayReachMemory?.() === false) {
        throw new DriverFault("the function has work to do, and is no bus master");
      }
      work();
    });
  }

  /** What the driver did wrong ends in DEVICE_NEEDS_RESET; what the type did wrong is its author's. */
  #caught(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof DriverFault || error instanceof FaultError)) throw error;
      this.#fail(error.message);
    }
  }

  #fail(reason: string): void {
    this.fault = reason;
    const told = (this.#status & STATUS.DRIVER_OK) !== 0;
    this.#status |= STATUS.DEVICE_NEEDS_RESET;
    if (!this.#told) {
      this.#told = true;
      const { name } = this.type;
      this.#host?.notice?.(`${name} does nothing until its driver resets it, which was at fault: ${reason}`);
    }
    // A driver that is not ready gets no notification (2.1.2).
    if (told) this.#notifier.config();
  }

  #progress(index: number): QueueProgress {
    return this.#queues[index]?.save() ??
      { avail: 0, used: 0, availWrap: true, usedWrap: true, notifiedUsed: 0 };
  }

  #featureNames(): string {
    const found: string[] = [];
    for (let bit = 0, rest = this.#accepted; rest !== 0n; bit++, rest >>= 1n) {
      if (rest & 1n) found.push(FEATURE_NAMES.get(bit) ?? this.type.featureNames?.get(bit) ?? `bit ${bit}`);
    }
    return found.join(" ");
  }
}

function names(bits: Readonly<Record<string, number>>, value: number): string {
  return Object.entries(bits).filter(([, bit]) => value & bit).map(([name]) => name).join(" ");
}

/** Feature bits that belong to all types (6). */
const RESERVED = (1n << 50n) - (1n << 24n);

function checkType({ name, id, queues, features = 0n, configBytes = 0 }: VirtioType): void {
  const wrong = !Number.isInteger(id) || id < 1 || id > 63
    ? `its id is ${id}, not 1 to 63`
    : queues.length === 0 || queues.length > 1024
    ? `it has ${queues.length} queues, not 1 to 1024`
    : queues.some((n) => !Number.isInteger(n) || n < 1 || n > QUEUE_SIZE_LIMIT || (n & (n - 1)) !== 0)
    ? `a queue's size is no power of 2 up to ${QUEUE_SIZE_LIMIT}`
    : (features & RESERVED) !== 0n || features < 0n || features >= 1n << 64n
    ? "its features are outside bits 0 to 23 and 50 to 63"
    : configBytes < 0 || configBytes > 0xf00
    ? `its configuration space has ${configBytes} bytes, more than ${0xf00}`
    : undefined;
  if (wrong !== undefined) {
    throw new InputError(`${name} can't be a virtio device: ${wrong}`, { remedy: "see VirtioType" });
  }
}
