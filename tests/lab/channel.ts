import { LabError } from "./errors.ts";
import {
  CHANNELS,
  encodeLine,
  type FromAgent,
  LineReader,
  STDIN_WINDOW,
  type TerminalSize,
  type ToAgent,
} from "./guest/protocol.ts";

/** The agent's answer to a command, see `FromAgent`. */
export type Outcome = Extract<FromAgent, { kind: "exit" | "refused" }>;

/** Where a command's bytes go and come from. */
export interface Streams {
  stdout: (bytes: Uint8Array) => void | Promise<void>;
  stderr: (bytes: Uint8Array) => void | Promise<void>;
  stdin?: ReadableStream<Uint8Array>;
}

/** A connection to the agent of a running lab: one command at a time. */
export class Channel implements Disposable {
  readonly #lock: Deno.FsFile;
  readonly #input: Deno.Conn;
  readonly #output: Deno.Conn;
  readonly #reader: LineReader;
  #closed = false;
  /** Bytes of standard input that the agent has not yet taken, and who waits for it to. */
  #outstanding = 0;
  #wake = () => {};

  private constructor(lock: Deno.FsFile, input: Deno.Conn, output: Deno.Conn) {
    this.#lock = lock;
    this.#input = input;
    this.#output = output;
    const buffer = new Uint8Array(64 * 1024);
    this.#reader = new LineReader(async () => {
      try {
        const count = await output.read(buffer);
        return count === null ? null : buffer.slice(0, count);
      } catch {
        return null; // closed by us, or QEMU died
      }
    });
  }

  /**
   * Connects to a free channel of the lab in `folder` and waits for the agent's hello; the caller bounds the wait by
   * closing the channel through `abort`.
   *
   * @throws {LabError} If all channels are taken, or the lab went away.
   */
  static async open(folder: string, abort: AbortSignal): Promise<Channel> {
    const { lock, n } = await takeLock(folder);
    const made: Disposable[] = [lock];
    try {
      const input = await connect(`${folder}/in${n}`);
      made.push(input);
      const output = await connect(`${folder}/out${n}`);
      made.push(output);
      const channel = new Channel(lock, input, output);
      const close = () => channel[Symbol.dispose]();
      abort.addEventListener("abort", close);
      try {
        await channel.#hello();
      } finally {
        abort.removeEventListener("abort", close);
      }
      return channel;
    } catch (error) {
      for (const each of made.reverse()) dispose(each);
      throw error;
    }
  }

  async #hello(): Promise<void> {
    const nonce = crypto.randomUUID();
    await writeAll(this.#input, new Uint8Array([10])); // ends what an earlier client left unfinished
    await this.send({ kind: "hello", nonce });
    const wanted = JSON.stringify({ kind: "hello", nonce } satisfies FromAgent);
    while (true) {
      const line = await this.#reader.line();
      if (line === null) throw new LabError("The lab closed the connection.");
      if (line.endsWith(wanted)) return; // before it may stand an earlier client's raw bytes
    }
  }

  /** Sends one message to the agent. */
  async send(message: ToAgent): Promise<void> {
    await writeAll(this.#input, encodeLine(message));
  }

  /** To the command's process group; a channel that is closed ignores it. */
  async signal(name: Deno.Signal): Promise<void> {
    await this.send({ kind: "signal", name }).catch(() => {});
  }

  /** Tells the command's terminal its new size. */
  async resize(size: TerminalSize): Promise<void> {
    await this.send({ kind: "resize", size }).catch(() => {});
  }

  /**
   * Runs a command to its end and passes its bytes on as they come.
   *
   * @returns Its exit, or null when the lab went away meanwhile.
   */
  async run(run: Extract<ToAgent, { kind: "run" }>["run"], streams: Streams): Promise<Outcome | null> {
    await this.send({ kind: "run", run });
    const feed = streams.stdin && feeder(streams.stdin);
    const feeding = feed && this.#feed(feed).catch(() => {});
    try {
      while (true) {
        const message = await this.#message();
        if (message === null) return null;
        if (message.kind === "exit" || message.kind === "refused") return message;
        if (message.kind === "data") {
          if (!(await this.#reader.bytes(message.bytes, streams[message.stream]))) return null;
        } else if (message.kind === "taken") {
          this.#outstanding -= message.bytes;
          this.#wake();
        }
      }
    } finally {
      this.#outstanding = -Infinity;
      this.#wake();
      await feed?.cancel().catch(() => {});
      await feeding;
    }
  }

  /** Asks the agent to write the shares back to the host; false when it does not answer. */
  async sync(): Promise<boolean> {
    await this.send({ kind: "sync" });
    while (true) {
      const message = await this.#message();
      if (message === null) return false;
      if (message.kind === "synced") return true;
    }
  }

  async #message(): Promise<FromAgent | null> {
    const line = await this.#reader.line();
    return line === null ? null : JSON.parse(line) as FromAgent;
  }

  /** Sends standard input, never more than the window ahead of what the command has taken. */
  async #feed(from: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
    while (true) {
      const { done, value } = await from.read();
      if (done) return await this.send({ kind: "stdin-end" });
      for (let at = 0; at < value.length; at += STDIN_PIECE) {
        const piece = value.subarray(at, at + STDIN_PIECE);
        while (this.#outstanding > STDIN_WINDOW) {
          await new Promise<void>((resolve) => this.#wake = resolve);
        }
        this.#outstanding += piece.length;
        await this.send({ kind: "stdin", data: piece.toBase64() });
      }
    }
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const each of [this.#output, this.#input, this.#lock]) dispose(each);
  }
}

const STDIN_PIECE = 48 * 1024;

function feeder(stream: ReadableStream<Uint8Array>): ReadableStreamDefaultReader<Uint8Array> {
  return stream.getReader();
}

/** Each channel is for one client at a time; flock(2) frees it even when the client is killed. */
async function takeLock(folder: string): Promise<{ lock: Deno.FsFile; n: number }> {
  for (let n = 0; n < CHANNELS; n++) {
    const lock = await Deno.open(`${folder}/channel${n}.lock`, { create: true, write: true });
    if (await lock.tryLock(true)) return { lock, n };
    lock.close();
  }
  throw new LabError(`All ${CHANNELS} channels of this lab are taken by other commands.`, {
    remedy: "Wait for one of them to end, or start a second lab.",
  });
}

async function connect(path: string): Promise<Deno.Conn> {
  return await Deno.connect({ transport: "unix", path });
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await conn.write(bytes.subarray(done));
}

/** Closing twice, or closing what the other side closed, is harmless. */
function dispose(resource: Disposable): void {
  try {
    resource[Symbol.dispose]();
  } catch {
    // already closed
  }
}
