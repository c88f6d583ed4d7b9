/** The network device (virtio 1.2, 5.1) on any network at the host. */
import type { DeviceHost, DeviceTime } from "../../vm/device.ts";
import { InputError } from "../../vm/errors.ts";
import type { NetBacking, UnfinishedFrames } from "../../vm/net.ts";
import { flag, record } from "../state.ts";
import type { Chain } from "./chain.ts";
import { readConfigBytes } from "./config_bytes.ts";
import { takeChain, type VirtQueue } from "./queue.ts";
import { DEVICE_ID } from "./spec.ts";
import type { VirtioLink, VirtioType } from "./virtio_type.ts";

/** Feature bits (5.1.3). */
const FEATURE = {
  CSUM: 1n << 0n,
  GUEST_CSUM: 1n << 1n,
  MAC: 1n << 5n,
  GUEST_TSO4: 1n << 7n,
  GUEST_TSO6: 1n << 8n,
  HOST_TSO4: 1n << 11n,
  HOST_TSO6: 1n << 12n,
  MRG_RXBUF: 1n << 15n,
  STATUS: 1n << 16n,
} as const;
/** Those for networks that finish frames; on others a frame is what is on the wire. */
const OFFLOADS = FEATURE.CSUM | FEATURE.GUEST_CSUM | FEATURE.GUEST_TSO4 | FEATURE.GUEST_TSO6 |
  FEATURE.HOST_TSO4 | FEATURE.HOST_TSO6;

/** Names of the feature bits, for listings. */
const FEATURE_NAMES = new Map([
  [0, "CSUM"],
  [1, "GUEST_CSUM"],
  [5, "MAC"],
  [7, "GUEST_TSO4"],
  [8, "GUEST_TSO6"],
  [11, "HOST_TSO4"],
  [12, "HOST_TSO6"],
  [15, "MRG_RXBUF"],
  [16, "STATUS"],
]);

/** Offsets in configuration space (5.1.4). */
const CONFIG = { mac: 0, status: 6 } as const;
const CONFIG_BYTES = 8;
const LINK_UP = 1;

/** No chains behind the first one. */
const ALONE: readonly Chain[] = [];

const RECEIVE = 0;
const TRANSMIT = 1;
const QUEUE_SIZE = 256;
/**
 * struct virtio_net_hdr (5.1.6): what is left to do of a frame. Zeros without offloads, but for num_buffers when
 * receiving.
 */
const HEADER_BYTES = 12;
const NUM_BUFFERS = 10;
/** Least and most bytes of a frame: a header; what no interface of a host exceeds. */
const LEAST_BYTES = 14;
const MOST_BYTES = 65_549;
/** How often the network is asked for frames, in nanoseconds. */
const POLL_NS = 1_000_000n;
/** The same where it tells of them by itself: for what it has to say else. */
const SELDOM_NS = 20n * POLL_NS;
/** Frames handed over at one asking: others want the thread too. */
const BURST = 256;

/** How a network card is made. */
export interface VirtioNetOptions {
  /** Unique among a machine's devices; "net0" if left out. */
  readonly name?: string;
  /** Where its frames go; a function is called when it becomes part of a machine. Disposed of when it is taken out. */
  readonly backing: NetBacking | (() => NetBacking);
  /** Its address, "52:54:00:12:34:56" if left out. */
  readonly mac?: string;
  /** Told what the user should know of the network; `vm.notices`, if left out. */
  readonly onNotice?: (text: string) => void;
}

/** A network card. */
export class VirtioNet implements VirtioType {
  readonly name: string;
  readonly id: number = DEVICE_ID.network;
  readonly queues: readonly number[] = [QUEUE_SIZE, QUEUE_SIZE];
  readonly featureNames: ReadonlyMap<number, string> = FEATURE_NAMES;
  readonly configBytes: number = CONFIG_BYTES;
  readonly #mac: Uint8Array;
  readonly #open: () => NetBacking;
  readonly #onNotice: ((text: string) => void) | undefined;
  #backing: NetBacking | undefined;
  #time: DeviceTime | undefined;
  /** Where the network tells of frames; elsewhere it is asked after each that is sent, as an answer may be there. */
  #told: Disposable | undefined;
  #notice: (text: string) => void = () => {};
  #cancel: (() => void) | undefined;
  #link: VirtioLink | undefined;
  #up = true;
  /** Whether a frame may take several of the driver's buffers (5.1.6.4: MRG_RXBUF). */
  #merges = false;
  /** A frame (behind its header, if unfinished) that the driver had no buffer for: the next one it gets. */
  #held: Uint8Array | undefined;
  /** The unfinished packet that is being sent. */
  #packet: Uint8Array | undefined;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #counts = { sent: 0, received: 0, sentBytes: 0, receivedBytes: 0, dropped: 0 };

  /**
   * A card for `virtio()`.
   *
   * @throws {InputError} If the address is none of a card's.
   */
  constructor(options: VirtioNetOptions) {
    const { name = "net0", backing, mac = "52:54:00:12:34:56", onNotice } = options;
    const bytes = mac.split(":").map((part) => /^[0-9a-f]{2}$/i.test(part) ? parseInt(part, 16) : NaN);
    if (bytes.length !== 6 || bytes.some(Number.isNaN) || (bytes[0] & 1) === 1) {
      throw new InputError(`${name}: "${mac}" is no address of a network card`, {
        remedy: 'give one like "52:54:00:12:34:56", whose first byte is even',
      });
    }
    this.name = name;
    this.#mac = Uint8Array.from(bytes);
    this.#open = typeof backing === "function" ? backing : () => backing;
    this.#onNotice = onNotice;
  }

  /** What it can do, which depends on the network. */
  get features(): bigint {
    return FEATURE.MAC | FEATURE.STATUS | FEATURE.MRG_RXBUF |
      (this.#unfinished === undefined ? 0n : OFFLOADS);
  }

  /** Whether the cable is plugged in; the guest is told of a change. */
  get up(): boolean {
    return this.#up;
  }

  set up(up: boolean) {
    if (up === this.#up) return;
    this.#up = up;
    this.#link?.configChanged();
  }

  attach(host: DeviceHost): void {
    this.#backing = this.#open();
    this.#time = host.clock;
    const { fd } = this.#backing;
    this.#told = fd === undefined ? undefined : host.readable?.(fd, () => this.#deliver());
    this.#notice = this.#onNotice ?? ((text) => host.notice?.(text));
  }

  detach(): void {
    this.#told?.[Symbol.dispose]();
    this.#told = undefined;
    this.#backing?.[Symbol.dispose]();
    this.#backing = undefined;
    this.#time = undefined;
  }

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(CONFIG_BYTES, offset, data, (config) => {
      this.#mac.forEach((byte, i) => config.setUint8(CONFIG.mac + i, byte));
      config.setUint16(CONFIG.status, this.#up ? LINK_UP : 0, true);
    });
  }

  start(link: VirtioLink): void {
    this.#link = link;
    this.#accept(link.features);
    this.#schedule();
  }

  stop(): void {
    this.#link = undefined;
    this.#held = undefined;
    this.#accept(0n);
    this.#cancel?.();
    this.#cancel = undefined;
  }

  request(chain: Chain, index: number): void | "later" | "wait" {
    if (index === RECEIVE) {
      const queue = this.#link?.queue(RECEIVE);
      const frame = this.#next();
      if (frame === undefined || queue === undefined) return "wait";
      const behind = this.#behind(queue, chain, frame);
      if (behind === undefined) return "wait";
      this.#receive(chain, behind, frame);
      if (behind.length === 0) return;
      this.#link?.complete(RECEIVE, chain, behind);
      return "later";
    } else if (index === TRANSMIT) {
      this.#send(chain);
      if (this.#told === undefined) this.#deliver();
    }
  }

  save(): unknown {
    return { up: this.#up };
  }

  restore(saved: unknown): void {
    const { up } = record({ up: flag })(saved, this.name);
    this.stop();
    this.#up = up;
  }

  inspect(): Record<string, number | string> {
    const mac = [...this.#mac].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
    return { mac, link: this.#up ? "up" : "down", network: this.#backing?.name ?? "none", ...this.#counts };
  }

  get #unfinished(): UnfinishedFrames | undefined {
    return this.#backing?.unfinished;
  }

  /** What the driver took: large buffers or many; what frames may lack; large ones want its checksums (5.1.3.1). */
  #accept(features: bigint): void {
    this.#merges = (features & FEATURE.MRG_RXBUF) !== 0n;
    const checksum = (features & FEATURE.GUEST_CSUM) !== 0n;
    this.#unfinished?.accept({
      checksum,
      tcp4: checksum && (features & FEATURE.GUEST_TSO4) !== 0n,
      tcp6: checksum && (features & FEATURE.GUEST_TSO6) !== 0n,
    });
  }

  #schedule(delay = this.#told === undefined ? POLL_NS : SELDOM_NS): void {
    this.#cancel?.();
    this.#cancel = this.#time?.schedule(delay, () => {
      this.#schedule();
      this.#deliver();
    });
  }

  /** The next frame for the driver; with the cable out frames are lost. */
  #next(): Uint8Array | undefined {
    const held = this.#held;
    this.#held = undefined;
    if (held !== undefined) return held;
    for (let i = 0; i < BURST; i++) {
      const frame = (this.#unfinished ?? this.#backing)?.receive();
      if (frame === undefined || this.#up) return frame;
      this.#counts.dropped++;
    }
    return undefined;
  }

  /** Gives the driver what has come, as far as it has buffers. */
  #deliver(): void {
    const notice = this.#backing?.notice?.();
    if (notice !== undefined) this.#notice(notice);
    this.#link?.work(() => {
      for (let i = 0; i < BURST; i++) {
        const queue = this.#link?.queue(RECEIVE);
        if (queue === undefined) return;
        const frame = this.#next();
        if (frame === undefined) return;
        const chain = takeChain(queue);
        if (chain === undefined) {
          this.#held = frame.slice();
          return;
        }
        const behind = this.#behind(queue, chain, frame);
        if (behind === undefined) {
          queue.unpop(chain);
          if (this.#held !== undefined) return;
          continue;
        }
        this.#receive(chain, behind, frame);
        this.#link?.complete(RECEIVE, chain, behind);
      }
      // There may be more, of which nobody tells again.
      this.#schedule(0n);
    });
  }

  /** Bytes of a frame's header where the network gives one. */
  get #headerBytes(): number {
    return this.#unfinished === undefined ? 0 : HEADER_BYTES;
  }

  /**
   * The buffers that `frame` needs beside that of `first` (5.1.6.4). If there are too few so far, they stay where they
   * are and the frame is held; it is lost if a whole queue of them does not do.
   */
  #behind(queue: VirtQueue, first: Chain, frame: Uint8Array): readonly Chain[] | undefined {
    let missing = HEADER_BYTES + frame.length - this.#headerBytes - first.writableBytes;
    if (missing <= 0 || !this.#merges || first.writableBytes < HEADER_BYTES) return ALONE;
    const chains: Chain[] = [];
    while (missing > 0) {
      const chain = chains.length < queue.size - 1 ? takeChain(queue) : undefined;
      if (chain === undefined) {
        if (chains.length < queue.size - 1) this.#held = frame.slice();
        else this.#counts.dropped++;
        while (chains.length > 0) queue.unpop(chains.pop()!);
        return undefined;
      }
      chains.push(chain);
      missing -= chain.writableBytes;
    }
    return chains;
  }

  /** Buffers that are too small lose the frame, and come back empty (5.1.6.3: 1526 bytes would do). */
  #receive(chain: Chain, behind: readonly Chain[], frame: Uint8Array): void {
    const from = this.#headerBytes;
    const length = frame.length - from;
    if (behind.length === 0 && chain.writableBytes < HEADER_BYTES + length) {
      this.#counts.dropped++;
      return;
    }
    const header = this.#header;
    if (from > 0) header.set(frame.subarray(0, from));
    else header.fill(0);
    const buffers = 1 + behind.length;
    header[NUM_BUFFERS] = buffers & 0xff;
    header[NUM_BUFFERS + 1] = buffers >> 8;
    chain.write(0, header);
    let done = from + chain.write(HEADER_BYTES, from > 0 ? frame.subarray(from) : frame);
    for (const each of behind) done += each.write(0, frame.subarray(done));
    this.#counts.received++;
    this.#counts.receivedBytes += length;
  }

  #send(chain: Chain): void {
    const length = chain.readableBytes - HEADER_BYTES;
    if (length < LEAST_BYTES || length > MOST_BYTES || !this.#up) {
      this.#counts.dropped++;
      return;
    }
    const unfinished = this.#unfinished;
    const pieces = unfinished?.sendv && chain.given(HEADER_BYTES + length);
    if (pieces !== undefined) unfinished!.sendv!(pieces);
    else if (unfinished !== undefined) {
      this.#packet ??= new Uint8Array(HEADER_BYTES + MOST_BYTES);
      const packet = this.#packet.subarray(0, HEADER_BYTES + length);
      chain.read(0, packet);
      unfinished.send(packet);
    } else {
      const frame = new Uint8Array(length);
      chain.read(HEADER_BYTES, frame);
      this.#backing?.send(frame);
    }
    this.#counts.sent++;
    this.#counts.sentBytes += length;
  }
}
