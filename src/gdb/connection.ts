/** One client on its connection: bytes to packets and back, acknowledgements, order, and bounds on what it may send. */
import { frameHex, framePacket, hexParts, PacketReader, type RspEvent } from "../abi/rsp.ts";
import type { Machine } from "../vm/machine.ts";
import { heed, turn } from "../vm/promise.ts";
import { PACKET_BYTES } from "./sizes.ts";
import { GdbSession, type Monitor } from "./session.ts";
import { ascii } from "./text.ts";

/** What a connection needs of a socket; tests have their own. */
export interface Line {
  read(into: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  close(): void;
  /** The same at once, where the host has a way; not used once the line is closed. */
  readonly direct?: DirectLine;
}

/** A line that is read and written without a turn of the event loop. */
export interface DirectLine {
  /** Whether something has come, or the other side is gone. */
  readonly hasInput: boolean;
  /** What has come, or comes within `timeoutMs`; valid until the next call. Undefined if nothing does. */
  receive(timeoutMs: number): Uint8Array | undefined;
  /** Sends what can be sent now; how many bytes that were. */
  send(bytes: Uint8Array): number;
}

/** How long the next packet is waited for at once: a client that steps sends it that soon. */
const NEXT_MS = 2;
/** How long packets are answered at once before the event loop gets its turn: a step would give it one after 5 ms. */
const BURST_MS = 4;
/** Turns of the microtask queue that an answer may take to be one that is given at once. */
const QUICK_TURNS = 32;

/** Packets and bytes that may wait for their turn: all-stop clients send one and wait (GDB manual, E.1). */
const WAITING_PACKETS = 256;
const WAITING_BYTES = 4 * PACKET_BYTES;
/** How often one answer is sent again. */
const RESENDS = 16;

/**
 * What a client begins with: `+`, `-`, `$`, Ctrl-C. Behind anything else packets may stand all the same, in what a browser
 * was made to send here (`POST / HTTP/1.1` ...): whoever reads the page is not who may run commands.
 */
const BEGINNINGS: readonly number[] = [0x2b, 0x2d, 0x24, 0x03];

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
  /** Writes that are under way, or wait for their turn. */
  #writes = 0;
  #acknowledges = true;
  #newest: Uint8Array | undefined;
  #resends = 0;
  #closed = false;
  /** While a guest runs, nobody would look at the socket for long. */
  #heeded: Disposable | undefined;

  constructor(line: Line, vm: Machine, tell: (text: string) => void, monitor?: Monitor) {
    this.#line = line;
    this.#tell = tell;
    this.#session = new GdbSession({
      vm,
      ...(monitor && { monitor }),
      send: (payload) => this.#send(typeof payload === "string" ? ascii(payload) : payload),
      sendFrame: (packet) => this.#sendFrame(packet),
      sendHex: (bytes) => this.#sendHex(bytes),
      acknowledgementsOff: () => void (this.#acknowledges = false),
      tell,
    });
  }

  /** Serves until the client leaves, is thrown out, or `close()` is called. */
  async serve(): Promise<void> {
    const { direct } = this.#line;
    if (direct !== undefined) this.#heeded = heed(() => direct.hasInput);
    try {
      await this.#session.begin();
      const buffer = new Uint8Array(READ_BYTES);
      for (let first = true; !this.#closed; first = false) {
        const length = await this.#read(buffer);
        if (length === null) break;
        if (first && !BEGINNINGS.includes(buffer[0])) {
          this.#throwOut("it does not speak gdb's protocol");
          break;
        }
        // Payloads are copies already: the buffer is used again.
        for (const event of this.#reader.feed(buffer.subarray(0, length))) this.#take(event);
        // A turn of the event loop is enough between bursts: a read of Deno's costs as much as several answers.
        if (direct !== undefined) { while (await this.#burst(direct)) await turn(); }
      }
    } finally {
      this.close();
      // What waits for the guest or a command of the shell waits on; anything else is done in a moment.
      if (!this.#session.outside) await this.#worker;
      await this.#session.end();
    }
  }

  /**
   * Answers what comes as soon as the answer before is sent. Nobody else reads meanwhile: what comes, comes in order.
   * It ends with the first answer that takes longer, for which a Ctrl-C has to be listened for.
   *
   * @returns Whether only its time was over.
   */
  async #burst(direct: DirectLine): Promise<boolean> {
    for (const end = performance.now() + BURST_MS; performance.now() < end;) {
      for (let turns = 0; this.#worker !== undefined; turns++) {
        if (turns === QUICK_TURNS) return false;
        await undefined;
      }
      if (this.#closed) return false;
      const bytes = direct.receive(NEXT_MS);
      if (bytes === undefined) return false;
      for (const event of this.#reader.feed(bytes)) this.#take(event);
    }
    return true;
  }

  /** Throws the client out. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#heeded?.[Symbol.dispose]();
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
        return this.#session.interrupt(this.#waiting.length);
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
    this.#worker ??= this.#work();
  }

  /** Answers what waits. It waits itself at least once, so that it is noted before it is over. */
  async #work(): Promise<void> {
    try {
      for (;;) {
        const packet = this.#waiting.shift();
        if (packet === undefined || this.#closed) return;
        this.#waitingBytes -= packet.length;
        if (packet === "oversized") await this.#send(ascii("E07")); // E2BIG
        else if (await this.#session.answer(packet) === "leave") return this.close();
      }
    } finally {
      this.#worker = undefined;
    }
  }

  #throwOut(reason: string): void {
    this.#tell(`gdb: the client was disconnected: ${reason}`);
    this.close();
  }

  #send(payload: Uint8Array): Promise<void> {
    return this.#sendFrame(framePacket(payload));
  }

  /** @param packet It may change once this has returned. */
  #sendFrame(packet: Uint8Array): Promise<void> {
    if (this.#acknowledges) this.#newest = packet.slice();
    return this.#write(packet);
  }

  #sendHex(bytes: Uint8Array): Promise<void> {
    if (this.#acknowledges) return this.#sendFrame(frameHex(bytes));
    let written = WRITTEN;
    for (const part of hexParts(bytes)) written = this.#write(part);
    return written;
  }

  /** Writes in order; what goes to a client that is gone is dropped. */
  #write(bytes: Uint8Array): Promise<void> {
    const { direct } = this.#line;
    let rest = bytes;
    if (direct !== undefined && this.#writes === 0 && !this.#closed) {
      rest = bytes.subarray(direct.send(bytes));
      if (rest.length === 0) return WRITTEN;
    }
    rest = rest.slice();
    this.#writes++;
    return this.#writing = this.#writing.then(() => this.#writeRest(rest)).finally(() => this.#writes--);
  }

  async #writeRest(rest: Uint8Array): Promise<void> {
    while (rest.length > 0 && !this.#closed) {
      try {
        rest = rest.subarray(await this.#line.write(rest));
      } catch {
        return this.close();
      }
    }
  }
}

const WRITTEN = Promise.resolve();
