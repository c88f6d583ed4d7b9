/** The other ends of a client's streams, in memory: for tests. */
import { Buffer } from "node:buffer";
import { packet } from "./packets.ts";
import { FULL, type Stream, type Waiter } from "./link.ts";

const decoder = new TextDecoder("latin1");

/** A stream whose other side is a function. */
export class FakeStream implements Stream {
  ended = false;
  /** Everything that was sent. */
  readonly sent: string[] = [];
  readonly #arriving: Uint8Array[] = [];
  readonly #answer: (text: string, stream: FakeStream) => void;

  constructor(answer: (text: string, stream: FakeStream) => void) {
    this.#answer = answer;
  }

  send(bytes: Uint8Array): void {
    if (this.ended) return;
    const text = decoder.decode(bytes);
    this.sent.push(text);
    this.#answer(text, this);
  }

  /** As a socket gives it: what was sent apart comes together. */
  receive(): Uint8Array | undefined {
    if (!this.ready) return undefined;
    const all = new Uint8Array(Buffer.concat(this.#arriving.splice(0)));
    if (all.length > FULL) this.#arriving.push(all.subarray(FULL));
    return all.subarray(0, FULL);
  }

  close(): void {
    this.ended = true;
  }

  /** Sends to the client. */
  give(data: Uint8Array | string): void {
    this.#arriving.push(typeof data === "string" ? new TextEncoder().encode(data) : data);
  }

  /** Whether something waits to be received. */
  get ready(): boolean {
    return this.#arriving.length > 0;
  }
}

/** Never sleeps: what a fake stream does not have now, it will not have. */
export const FAKE_WAITER: Waiter = {
  wait: (streams) => streams.filter((stream) => (stream as FakeStream).ready),
};

/** A stub that answers packets by a function; acknowledges until it is told not to. */
export function fakeStub(answer: (payload: string) => string | undefined): FakeStream {
  return new FakeStream((text, stream) => {
    for (const [, payload] of text.matchAll(/\$([^#]*)#[0-9a-f]{2}/g)) {
      const said = answer(payload);
      if (said !== undefined) stream.give(packet(said));
    }
    if (text === "\x03") {
      const said = answer("\x03");
      if (said !== undefined) stream.give(packet(said));
    }
  });
}
