/** One stream between a port of the guest and the host (virtio 1.2, 5.10.6.3 to 5.10.6.5). */
import type { SocketStream } from "../../vm/socket.ts";
import { OP, SHUTDOWN, type SocketHeader } from "./socket_packet.ts";

/** Bytes of the guest's that may wait for the host to take them. */
export const ROOM_BYTES = 256 * 1024;
/** Bytes handed to the guest in one packet. */
const PACKET_BYTES = 64 * 1024;

/** What goes to the guest next. */
export interface Outgoing {
  readonly op: number;
  readonly flags?: number;
  readonly data?: Uint8Array;
}

/** How a connection takes a packet of the guest's: goes on, or is over, with a reset for the guest or without. */
export type Verdict = "on" | "over" | "reset";

/** A connection's two ends and the credit between them. */
export class SocketConnection {
  readonly guestPort: number;
  readonly hostPort: number;
  readonly #stream: SocketStream;
  /** Control packets that the guest is owed, in order; each at most once. */
  readonly #owed = new Set<number>();
  /** Whether both sides have agreed to talk. */
  #open: boolean;
  /** What has come from the host and not gone to the guest yet. */
  #held: Uint8Array | undefined;
  /** Bytes since the beginning, modulo 2^32: to the guest, from it, and what it last heard of the latter. */
  #sent = 0;
  #received = 0;
  #told = 0;
  #peer = { room: 0, forwarded: 0 };
  /** What the guest said with SHUTDOWN, and what it was told. */
  #shut = 0;
  #toldShut = 0;
  #finished = false;

  /** @param first REQUEST for a connection that the host begins, RESPONSE for one of the guest's. */
  constructor(
    ports: { guest: number; host: number },
    stream: SocketStream,
    first: typeof OP.REQUEST | typeof OP.RESPONSE,
  ) {
    this.guestPort = ports.guest;
    this.hostPort = ports.host;
    this.#stream = stream;
    this.#open = first === OP.RESPONSE;
    this.#owed.add(first);
  }

  /** Bytes that have been passed on to the host, modulo 2^32. */
  get forwarded(): number {
    return (this.#received - this.#stream.unsent) >>> 0;
  }

  /** A packet of the guest's; `data` has as many bytes as it says. */
  take(header: SocketHeader, data: Uint8Array): Verdict {
    this.#peer = { room: header.room, forwarded: header.forwarded };
    switch (header.op) {
      case OP.RESPONSE:
        if (this.#open) return "reset";
        this.#open = true;
        return "on";
      case OP.RW:
        return this.#write(data);
      case OP.CREDIT_REQUEST:
        this.#owed.add(OP.CREDIT_UPDATE);
        return "on";
      case OP.CREDIT_UPDATE:
        return "on";
      case OP.SHUTDOWN:
        this.#shut |= header.flags & SHUTDOWN.BOTH;
        return "on";
      case OP.RST:
        return "over";
      default:
        return "reset";
    }
  }

  /** Moves what can be moved at the host's side. "reset": all is said, or the host is gone. */
  move(): Verdict {
    const stream = this.#stream;
    stream.flush();
    if (stream.unsent === 0 && (this.#shut & SHUTDOWN.SEND) !== 0 && !this.#finished) {
      this.#finished = true;
      stream.finish();
    }
    if (this.#shut === SHUTDOWN.BOTH && (this.#finished || stream.ended)) return "reset";
    if (this.#open && this.#held === undefined && (this.#shut & SHUTDOWN.RECEIVE) === 0) {
      const bytes = stream.receive();
      if (bytes !== undefined) this.#held = bytes.slice();
    }
    // Half of the room is told by itself: a guest that waits for credit need not ask.
    if (((this.forwarded - this.#told) >>> 0) >= ROOM_BYTES / 2) this.#owed.add(OP.CREDIT_UPDATE);
    return "on";
  }

  /** The next packet for the guest, whose data has at most `room` bytes; undefined if there is none. */
  next(room: number): Outgoing | undefined {
    for (const op of this.#owed) {
      this.#owed.delete(op);
      return this.#out({ op });
    }
    if (!this.#open) return undefined;
    const held = this.#held;
    if (held !== undefined) {
      const credit = this.#peer.room - ((this.#sent - this.#peer.forwarded) >>> 0);
      const length = Math.min(held.length, room, credit, PACKET_BYTES);
      if (length <= 0) return undefined;
      this.#held = length < held.length ? held.subarray(length) : undefined;
      this.#sent = (this.#sent + length) >>> 0;
      return this.#out({ op: OP.RW, data: held.subarray(0, length) });
    }
    const flags = this.#stream.ended ? SHUTDOWN.BOTH : this.#stream.finished ? SHUTDOWN.SEND : 0;
    if ((flags & ~this.#toldShut) === 0) return undefined;
    this.#toldShut |= flags;
    return this.#out({ op: OP.SHUTDOWN, flags: this.#toldShut });
  }

  /** Ends the host's side. */
  close(): void {
    this.#stream.close();
  }

  #write(data: Uint8Array): Verdict {
    // A guest that sends more than it has room for breaks 5.10.6.3, and could fill this process.
    if (!this.#open || this.#stream.unsent + data.length > ROOM_BYTES) return "reset";
    this.#received = (this.#received + data.length) >>> 0;
    this.#stream.send(data);
    return "on";
  }

  #out(packet: Outgoing): Outgoing {
    this.#told = this.forwarded;
    return packet;
  }
}
