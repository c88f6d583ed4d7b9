/** The socket device (virtio 1.2, 5.10): streams between guest and host without a network. */
import type { DeviceHost, DeviceTime } from "../../vm/device.ts";
import { InputError } from "../../vm/errors.ts";
import type { SocketBacking } from "../../vm/socket.ts";
import { record } from "../state.ts";
import type { Chain } from "./chain.ts";
import { readConfigBytes } from "./config_bytes.ts";
import { takeChain } from "./queue.ts";
import { ROOM_BYTES, SocketConnection, type Verdict } from "./socket_connection.ts";
import {
  describePacket,
  HEADER_BYTES,
  HOST_CID,
  OP,
  readHeader,
  type SocketHeader,
  STREAM,
  writeHeader,
} from "./socket_packet.ts";
import { DEVICE_ID } from "./spec.ts";
import type { VirtioLink, VirtioType } from "./virtio_type.ts";

/** Feature bits (5.10.3). */
const FEATURE = { STREAM: 1n << 0n } as const;
const FEATURE_NAMES = new Map([[0, "STREAM"]]);

/** Queues (5.10.2). */
const RECEIVE = 0;
const TRANSMIT = 1;
const EVENT = 2;
const QUEUE_SIZE = 128;
/** guest_cid, 64 bits (5.10.4). */
const CONFIG_BYTES = 8;
/** All connections are gone: the driver finds a new address and begins anew (5.10.6.7). */
const TRANSPORT_RESET = 0;

/** Connections at the same time; each has a descriptor of this process. */
const CONNECTIONS = 256;
/** Resets that may wait for the driver's buffers. */
const RESETS = 64;
/** How often the host's side is asked, in nanoseconds; packets handed over at one asking. */
const POLL_NS = 1_000_000n;
const BURST = 256;
/** Ports that connections from outside come from. */
const FIRST_PORT = 0x4000_0000;

/** How a socket device is made. */
export interface VirtioSocketOptions {
  /** Unique among a machine's devices; "vsock0" if left out. */
  readonly name?: string;
  /** The guest's address, 3 to 0xfffffffe; 3 if left out. */
  readonly cid?: number;
  /** What is at the host; a function is called when it becomes part of a machine. Disposed of when it is taken out. */
  readonly backing: SocketBacking | (() => SocketBacking);
}

/** A guest's way to sockets of the host. */
export class VirtioSocket implements VirtioType {
  readonly name: string;
  readonly id: number = DEVICE_ID.socket;
  readonly queues: readonly number[] = [QUEUE_SIZE, QUEUE_SIZE, QUEUE_SIZE];
  readonly features: bigint = FEATURE.STREAM;
  readonly featureNames: ReadonlyMap<number, string> = FEATURE_NAMES;
  readonly configBytes: number = CONFIG_BYTES;
  readonly #cid: bigint;
  readonly #open: () => SocketBacking;
  #backing: SocketBacking | undefined;
  #time: DeviceTime | undefined;
  #cancel: (() => void) | undefined;
  #link: VirtioLink | undefined;
  readonly #connections = new Map<string, SocketConnection>();
  /** Packets that nobody's connection owes: resets. */
  #resets: SocketHeader[] = [];
  #nextPort = FIRST_PORT;
  /** Whether the driver has to hear that its connections are gone. */
  #lost = false;
  readonly #counts = { toGuest: 0, fromGuest: 0, refused: 0, reset: 0 };

  /**
   * A socket device for `virtio()`.
   *
   * @throws {InputError} If the address is none of a guest's.
   */
  constructor(options: VirtioSocketOptions) {
    const { name = "vsock0", cid = 3, backing } = options;
    if (!Number.isInteger(cid) || cid < 3 || cid > 0xffff_fffe) {
      throw new InputError(`${name}: a guest's address is not ${cid}`, {
        remedy: "give one from 3 on: 0 to 2 are the hypervisor's and the host's",
      });
    }
    this.name = name;
    this.#cid = BigInt(cid);
    this.#open = typeof backing === "function" ? backing : () => backing;
  }

  attach(host: DeviceHost): void {
    this.#backing = this.#open();
    this.#time = host.clock;
  }

  detach(): void {
    this.#backing?.[Symbol.dispose]();
    this.#backing = undefined;
    this.#time = undefined;
  }

  readConfig(offset: number, data: Uint8Array): void {
    readConfigBytes(CONFIG_BYTES, offset, data, (config) => config.setBigUint64(0, this.#cid, true));
  }

  start(link: VirtioLink): void {
    this.#link = link;
    this.#schedule();
  }

  stop(): void {
    this.#link = undefined;
    this.#cancel?.();
    this.#cancel = undefined;
    for (const connection of this.#connections.values()) connection.close();
    this.#connections.clear();
    this.#resets = [];
    this.#lost = false;
  }

  describe(chain: Chain, index: number): string | undefined {
    const bytes = new Uint8Array(HEADER_BYTES);
    if (index !== TRANSMIT || chain.read(0, bytes) < HEADER_BYTES) return undefined;
    return describePacket(readHeader(bytes));
  }

  request(chain: Chain, index: number): void | "wait" {
    if (index === TRANSMIT) {
      this.#take(chain);
      // The answer may be there already.
      this.#poll();
    } else if (index === EVENT) {
      if (!this.#lost) return "wait";
      this.#tellLost(chain);
    } else if (!this.#fill(chain)) return "wait";
  }

  /** Connections are of this process: they can't be saved. */
  save(): unknown {
    return {};
  }

  restore(saved: unknown): void {
    record({})(saved, this.name);
    this.stop();
    this.#lost = true;
  }

  inspect(): Record<string, number | string> {
    const { name = "none" } = this.#backing ?? {};
    return { cid: Number(this.#cid), leadsTo: name, connections: this.#connections.size, ...this.#counts };
  }

  #schedule(): void {
    this.#cancel = this.#time?.schedule(POLL_NS, () => {
      this.#schedule();
      this.#poll();
    });
  }

  /** A packet of the driver's. */
  #take(chain: Chain): void {
    const bytes = new Uint8Array(HEADER_BYTES);
    if (chain.read(0, bytes) < HEADER_BYTES) return;
    const header = readHeader(bytes);
    // Nobody could be told what is wrong with these: they come from or go to no address of ours.
    if (header.source !== this.#cid || header.destination !== HOST_CID) return;
    const given = chain.readableBytes - HEADER_BYTES;
    const key = keyOf(header.sourcePort, header.destinationPort);
    const connection = this.#connections.get(key);
    const whole = header.length <= given && header.length <= ROOM_BYTES && header.type === STREAM;
    if (!whole) return this.#end(connection, "reset", header);
    if (connection === undefined) return this.#begin(key, header);
    const data = new Uint8Array(header.op === OP.RW ? header.length : 0);
    chain.read(HEADER_BYTES, data);
    this.#counts.fromGuest += data.length;
    this.#end(connection, connection.take(header, data), header);
  }

  /** The guest wants to connect; anything else to nobody is answered with a reset, but for a reset. */
  #begin(key: string, header: SocketHeader): void {
    if (header.op === OP.RST) return;
    const full = this.#connections.size >= CONNECTIONS;
    const asks = header.op === OP.REQUEST && !full;
    const stream = asks ? this.#backing?.connect(header.destinationPort) : undefined;
    if (stream === undefined) {
      this.#counts.refused++;
      return this.#reset(header);
    }
    const ports = { guest: header.sourcePort, host: header.destinationPort };
    const connection = new SocketConnection(ports, stream, OP.RESPONSE);
    connection.take({ ...header, op: OP.CREDIT_UPDATE }, new Uint8Array(0));
    this.#connections.set(key, connection);
  }

  /** What came of a packet; `header` is the guest's. */
  #end(connection: SocketConnection | undefined, verdict: Verdict, header: SocketHeader): void {
    if (verdict === "on") return;
    if (verdict === "reset") this.#reset(header);
    if (connection !== undefined) this.#forget(connection);
  }

  #forget(connection: SocketConnection): void {
    connection.close();
    this.#connections.delete(keyOf(connection.guestPort, connection.hostPort));
  }

  #reset({ sourcePort, destinationPort }: Pick<SocketHeader, "sourcePort" | "destinationPort">): void {
    this.#counts.reset++;
    if (this.#resets.length >= RESETS) this.#resets.shift();
    this.#resets.push(this.#header(OP.RST, { guest: sourcePort, host: destinationPort }));
  }

  /** Moves bytes at the host's side, then gives the driver what it has buffers for. */
  #poll(): void {
    this.#accept();
    for (const connection of this.#connections.values()) {
      if (connection.move() === "on") continue;
      const { guestPort: sourcePort, hostPort: destinationPort } = connection;
      this.#reset({ sourcePort, destinationPort });
      this.#forget(connection);
    }
    this.#link?.work(() => {
      for (let i = 0; i < BURST; i++) {
        const queue = this.#link?.queue(RECEIVE);
        const chain = queue && takeChain(queue);
        if (queue === undefined || chain === undefined) break;
        if (!this.#fill(chain)) {
          queue.unpop(chain);
          break;
        }
        this.#link?.complete(RECEIVE, chain);
      }
      const events = this.#lost ? this.#link?.queue(EVENT) : undefined;
      const chain = events && takeChain(events);
      if (chain === undefined) return;
      this.#tellLost(chain);
      this.#link?.complete(EVENT, chain);
    });
  }

  /** Connections from outside. */
  #accept(): void {
    if (this.#link === undefined) return;
    while (this.#connections.size < CONNECTIONS) {
      const found = this.#backing?.accept();
      if (found === undefined) return;
      const ports = { guest: found.port, host: this.#nextPort };
      this.#nextPort = this.#nextPort === 0x7fff_ffff ? FIRST_PORT : this.#nextPort + 1;
      const connection = new SocketConnection(ports, found.stream, OP.REQUEST);
      this.#connections.set(keyOf(ports.guest, ports.host), connection);
    }
  }

  /** Puts the next packet into a buffer of the driver's; false if there is none. A small buffer has room for no data. */
  #fill(chain: Chain): boolean {
    const reset = this.#resets.shift();
    if (reset !== undefined) {
      chain.write(0, writeHeader(reset));
      return true;
    }
    const room = Math.max(0, chain.writableBytes - HEADER_BYTES);
    for (const connection of this.#connections.values()) {
      const packet = connection.next(room);
      if (packet === undefined) continue;
      const ports = { guest: connection.guestPort, host: connection.hostPort };
      const { op, flags = 0, data = new Uint8Array(0) } = packet;
      const length = data.length;
      chain.write(
        0,
        writeHeader({ ...this.#header(op, ports), flags, length, forwarded: connection.forwarded }),
      );
      chain.write(HEADER_BYTES, data);
      this.#counts.toGuest += length;
      // The others come first next time.
      const key = keyOf(ports.guest, ports.host);
      this.#connections.delete(key);
      this.#connections.set(key, connection);
      return true;
    }
    return false;
  }

  #tellLost(chain: Chain): void {
    chain.write(0, new Uint8Array(Uint32Array.of(TRANSPORT_RESET).buffer));
    this.#lost = false;
  }

  #header(op: number, ports: { guest: number; host: number }): SocketHeader {
    return {
      source: HOST_CID,
      destination: this.#cid,
      sourcePort: ports.host,
      destinationPort: ports.guest,
      length: 0,
      type: STREAM,
      op,
      flags: 0,
      room: ROOM_BYTES,
      forwarded: 0,
    };
  }
}

function keyOf(guestPort: number, hostPort: number): string {
  return `${guestPort}:${hostPort}`;
}
