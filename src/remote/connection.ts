import { INTERRUPT, PacketReader } from "../abi/rsp.ts";
import { HvshError } from "../vm/errors.ts";
import { GoneError } from "./gone.ts";
import type { Links, Stream } from "./link.ts";
import { packet, PACKET_LIMIT, textOf } from "./packets.ts";

/** How long an answer may take. QEMU's main loop may be held for seconds by a slow disk or a loaded host. */
const ANSWER_MS = 10_000;
/** Requests on their way at once: their answers fit the kernel's socket buffers. */
const WINDOW = 32;
/** Packets that may wait to be taken; more are a flood. */
const WAITING_LIMIT = 1024;
/** Broken packets in a row until the other side is given up. */
const BROKEN_LIMIT = 8;

/** How many packets are kept as they were sent, and up to which length. */
const FRAMES = 16;
const SHORT = 32;

/** The target is no more (E.3): its status, or a signal. */
const ENDED = /^[WX][0-9a-fA-F]{2}(;|$)/;

const ACK = Uint8Array.of(0x2b);
const NAK = Uint8Array.of(0x2d);
const STOP = Uint8Array.of(INTERRUPT);

/** A client's side of the GDB remote protocol: requests, and their answers in order. */
export class GdbConnection {
  readonly #links: Links;
  readonly #stream: Stream;
  readonly #reader = new PacketReader({ limit: PACKET_LIMIT, runLengths: true });
  readonly #waiting: string[] = [];
  /** Who is to have the answer that comes next, instead of `next`. */
  #taker: ((answer: Uint8Array) => void) | undefined;
  readonly #answerMs: number;
  /** Short packets that were sent: a guest that is stepped is sent the same two all the time. */
  readonly #frames = new Map<string, Uint8Array>();
  #acks = true;
  /** A packet came whose acknowledgement goes with the next one of ours, or before anything is waited for. */
  #owed = false;
  #broken = 0;
  #last: Uint8Array | undefined;
  #gone: string | undefined;

  /** @param answerMs How long an answer may take. */
  constructor(links: Links, stream: Stream, answerMs = ANSWER_MS) {
    this.#answerMs = answerMs;
    this.#links = links;
    this.#stream = stream;
    links.add(stream, (bytes) => this.#take(bytes));
  }

  /** Why there is no point in asking any more; undefined while there is. */
  get gone(): string | undefined {
    if (this.#gone === undefined && this.#stream.ended && this.#waiting.length === 0) {
      this.#gone = "the stub closed the connection";
    }
    return this.#gone;
  }

  /** Many requests may be on their way although there are acknowledgements: QEMU's stub takes the next for one. */
  pipelined = false;

  /** Ends acknowledgements, where the stub can do without (E.2, QStartNoAckMode). */
  withoutAcks(
    ask: (connection: this, payload: string) => string = (_, payload) => this.request(payload),
  ): void {
    if (ask(this, "QStartNoAckMode") === "OK") this.#acks = false;
  }

  /** Sends a packet whose answer comes later, by `next`. @throws {GoneError} */
  post(payload: string): void {
    this.#alive();
    // With acknowledgements ours would reach a stub whose guest runs by then, and stop it.
    this.settle();
    this.#last = this.#framed(payload);
    this.#stream.send(this.#owed ? acknowledging(this.#last) : this.#last);
    this.#owed = false;
  }

  #framed(payload: string): Uint8Array {
    let frame = this.#frames.get(payload);
    if (frame !== undefined) return frame;
    frame = packet(payload);
    if (payload.length > SHORT) return frame;
    if (this.#frames.size === FRAMES) this.#frames.clear();
    this.#frames.set(payload, frame);
    return frame;
  }

  /** Asks a running guest to stop; the stop reply is its answer. */
  interrupt(): void {
    this.#alive();
    this.#stream.send(STOP);
  }

  /** Sends for the last time, to a stub that may run its guest and whose answers nobody waits for. */
  part(payloads: readonly string[]): void {
    this.#stream.send(STOP);
    for (const payload of payloads) this.#stream.send(packet(payload));
  }

  /** The next packet, if one comes within `timeoutMs`. @throws {GoneError} */
  next(timeoutMs: number): string | undefined {
    if (this.#waiting.length === 0) {
      this.#pay();
      this.#links.until(
        () => this.#waiting.length > 0 || this.#stream.ended || this.#gone !== undefined,
        timeoutMs,
      );
    }
    const text = this.#waiting.shift();
    if (text === undefined) this.#alive();
    return text;
  }

  /** What has come already. */
  arrived(): string | undefined {
    return this.#waiting.shift();
  }

  /** Asks, and gives the answer. @throws {GoneError} If none comes. */
  request(payload: string): string {
    this.post(payload);
    return this.#answer(payload);
  }

  /**
   * Asks, and goes on: the answer is taken when something else is asked, or by `settle`. Only where nothing else is
   * waited for. It is given as it came: who asks after each step may not look at it at all.
   *
   * @throws {GoneError}
   */
  ask(payload: string, take: (answer: Uint8Array) => void): void {
    this.post(payload);
    this.#taker = take;
  }

  /** Waits for what `ask` asked for. @throws {GoneError} If it does not come. */
  settle(): void {
    if (this.#taker === undefined) return;
    this.#links.until(
      () => this.#taker === undefined || this.#stream.ended || this.#gone !== undefined,
      this.#answerMs,
    );
    if (this.#taker === undefined) return;
    this.#alive();
    throw new GoneError(this.#gone = `the stub did not answer within ${this.#answerMs / 1000} s`);
  }

  /** Asks many things, a window of them at once; the answers are in the order of the questions. @throws {GoneError} */
  requests(payloads: readonly string[]): string[] {
    const answers: string[] = [];
    // With acknowledgements, a stub may drop what comes before it had its own.
    const window = this.#acks && !this.pipelined ? 1 : WINDOW;
    for (let asked = 0; answers.length < payloads.length;) {
      while (asked < payloads.length && asked - answers.length < window) this.post(payloads[asked++]);
      answers.push(this.#answer(payloads[answers.length]));
    }
    return answers;
  }

  #answer(payload: string): string {
    const answer = this.next(this.#answerMs);
    // Told between two questions: whatever was asked next, that is no answer to it.
    if (answer !== undefined && ENDED.test(answer) && payload !== "?") {
      throw new GoneError(this.#gone = "the program behind the stub ended");
    }
    if (answer !== undefined) return answer;
    // An answer that came later would be taken for that to another question.
    this.#gone = `the stub did not answer ${JSON.stringify(payload.slice(0, 40))} within ${
      this.#answerMs / 1000
    } s`;
    throw new GoneError(this.#gone);
  }

  #alive(): void {
    const why = this.gone;
    if (why !== undefined) throw new GoneError(why);
  }

  #take(bytes: Uint8Array): void {
    for (const event of this.#reader.feed(bytes)) {
      switch (event.kind) {
        case "packet":
          this.#broken = 0;
          this.#pay();
          this.#owed = this.#acks;
          if (this.#taker !== undefined) this.#hand(event.payload);
          else if (this.#waiting.length < WAITING_LIMIT) this.#waiting.push(textOf(event.payload));
          else this.#gone ??= "the stub floods us with packets that nobody asked for";
          break;
        case "nak":
          this.#fail("a packet of ours was refused", this.#last);
          break;
        case "corrupt":
          this.#fail(`a packet came broken (${event.reason})`, NAK);
          break;
        case "ack":
        case "notification":
        case "interrupt":
      }
    }
  }

  #pay(): void {
    if (this.#owed) this.#stream.send(ACK);
    this.#owed = false;
  }

  /** Some stubs tell of one stop twice: that is no answer to anything. */
  #hand(answer: Uint8Array): void {
    if (/^[TSWX][0-9a-fA-F]{2}/.test(textOf(answer.subarray(0, 3)))) return;
    this.#taker?.(answer);
    this.#taker = undefined;
  }

  /** Asks for a packet again, or sends ours again; not for ever, and not where that was agreed to be needless. */
  #fail(why: string, again: Uint8Array | undefined): void {
    if (++this.#broken >= BROKEN_LIMIT || !this.#acks) {
      this.#gone ??= `the stub does not keep to the protocol: ${why}`;
    } else if (again !== undefined) this.#stream.send(again);
  }
}

/** Whether an answer is an error (`E` and two digits, or `E.` and text). */
export function isError(answer: string): boolean {
  return /^E([0-9a-fA-F]{2}$|\.)/.test(answer);
}

/** An answer that makes no sense. */
export function nonsense(what: string, answer: string): HvshError {
  return new HvshError(
    `the stub's answer to ${what} makes no sense: ${JSON.stringify(answer.slice(0, 60))}`,
    {
      remedy: "check that a GDB stub for x86-64 listens at that address",
    },
  );
}

function acknowledging(packet: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(packet.length + 1);
  bytes[0] = ACK[0];
  bytes.set(packet, 1);
  return bytes;
}
