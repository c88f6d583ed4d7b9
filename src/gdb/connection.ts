/** One client on its connection: bytes to packets and back, acknowledgements, order, and bounds on what it may send. */
import { framePacket, PacketReader, type RspEvent } from "../abi/rsp.ts";
import type { Machine } from "../vm/machine.ts";
import { PACKET_BYTES } from "./queries.ts";
import { GdbSession, type Monitor } from "./session.ts";
import { ascii } from "./text.ts";

/** What a connection needs of a socket; tests have their own. */
export interface Line {
  read(into: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
}

/** Packets and bytes that may wait for their turn: all-stop clients send one and wait (GDB manual, E.1). */
const WAITING_PACKETS = 256;
const WAITING_BYTES = 4 * PACKET_BYTES;
/** How often one answer is sent again. */
const RESENDS = 16;

const READ_BYTES = 64 * 1024;
const ACK = ascii("+");
const NAK = ascii("-");

/** A client that is being served. */
export class GdbConnection {
  readonly #line: Line;
  readonly #session: GdbSession;
  readonly #tell: (text: string) => void;
  readonly #reader = new PacketReader({ limit: PACKET_BYTES, runLengths: false });
  readonly #waiting: (Uint8Array | "oversized")[] = [];
  #waitingBytes = 0;
  #worker: Promise<void> | undefined;
  #writing: Promise<void> = Promise.resolve();
  #acknowledges = true;
  #newest: Uint8Array | undefined;
  #resends = 0;
  #closed = false;

  constructor(line: Line, vm: Machine, tell: (text: string) => void, monitor?: Monitor) {
    this.#line = line;
    this.#tell = tell;
    this.#session = new GdbSession({
      vm,
      ...(monitor && { monitor }),
      send: (payload) => this.#send(typeof payload === "string" ? ascii(payload) : payload),
      acknowledgementsOff: () => void (this.#acknowledges = false),
      tell,
    });
  }

  /** Serves until the client leaves, is thrown out, or `close()` is called. */
  async serve(): Promise<void> {
    try {
      await this.#session.begin();
      const buffer = new Uint8Array(READ_BYTES);
      while (!this.#closed) {
        const length = await this.#read(buffer);
        if (length === null) break;
        // Payloads are copies already: the buffer is used again.
        for (const event of this.#reader.feed(buffer.subarray(0, length))) this.#take(event);
      }
    } finally {
      this.close();
      // What waits for the guest or a command of the shell waits on; anything else is done in a moment.
      if (!this.#session.outside) await this.#worker;
      await this.#session.end();
    }
  }

  /** Throws the client out. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting.length = 0;
    this.#line.close();
  }

  async #read(buffer: Uint8Array): Promise<number | null> {
    try {
      return await this.#line.read(buffer);
    } catch {
      // Reset by the client, or closed by us: gone either way.
      return null;
    }
  }

  #take(event: RspEvent): void {
    switch (event.kind) {
      case "packet":
        if (this.#acknowledges) this.#write(ACK);
        this.#resends = 0;
        return this.#enqueue(event.payload);
      case "corrupt":
        if (event.reason === "oversized") {
          // Sent again it would be no shorter: it gets an error for an answer.
          if (this.#acknowledges) this.#write(ACK);
          return this.#enqueue("oversized");
        }
        if (this.#acknowledges && event.reason !== "truncated") this.#write(NAK);
        return;
      case "interrupt":
        return this.#session.interrupt(this.#worker !== undefined);
      case "nak":
        if (!this.#acknowledges || this.#newest === undefined) return;
        if (++this.#resends > RESENDS) return this.#throwOut("it takes no answer");
        this.#write(this.#newest);
        return;
      case "ack":
      case "notification":
        return;
      default:
        event satisfies never;
    }
  }

  #enqueue(packet: Uint8Array | "oversized"): void {
    if (this.#closed) return;
    this.#waiting.push(packet);
    this.#waitingBytes += packet.length;
    if (this.#waiting.length > WAITING_PACKETS || this.#waitingBytes > WAITING_BYTES) {
      return this.#throwOut("it sends without waiting for answers");
    }
    this.#worker ??= this.#work().finally(() => this.#worker = undefined);
  }

  async #work(): Promise<void> {
    for (;;) {
      const packet = this.#waiting.shift();
      if (packet === undefined || this.#closed) return;
      this.#waitingBytes -= packet.length;
      if (packet === "oversized") {
        await this.#send(ascii("E07")); // E2BIG
        continue;
      }
      if (await this.#session.answer(packet) === "leave") return this.close();
    }
  }

  #throwOut(reason: string): void {
    this.#tell(`gdb: the client was disconnected: ${reason}`);
    this.close();
  }

  #send(payload: Uint8Array): Promise<void> {
    const packet = framePacket(payload);
    if (this.#acknowledges) this.#newest = packet;
    return this.#write(packet);
  }

  /** Writes in order; what goes to a client that is gone is dropped. */
  #write(bytes: Uint8Array): Promise<void> {
    return this.#writing = this.#writing.then(async () => {
      for (let rest = bytes; rest.length > 0 && !this.#closed;) {
        try {
          rest = rest.subarray(await this.#line.write(rest));
        } catch {
          return this.close();
        }
      }
    });
  }
}
