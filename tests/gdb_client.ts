/** A client of the remote serial protocol for tests: sends packets, takes answers, and can misbehave. */
import { framePacket, PacketReader, type RspEvent } from "../src/abi/rsp.ts";
import { DirectSocket } from "../src/host/direct_socket.ts";
import { heed } from "../src/vm/promise.ts";

const ascii = (text: string) => new TextEncoder().encode(text);

/** Bytes as text, one character each. */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/** A connection to a server. */
export class GdbClient implements AsyncDisposable {
  /** Acknowledgements that came. */
  acks = 0;
  naks = 0;
  readonly #conn: Deno.Conn;
  readonly #reader = new PacketReader({ limit: 1 << 20, runLengths: true });
  readonly #events: RspEvent[] = [];
  readonly #buffer = new Uint8Array(1 << 16);

  /** The guest often runs in this very process, and what it is told then comes as soon as to any other client. */
  readonly #heeded: Disposable | undefined;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
    const direct = DirectSocket.of(conn.localAddr, conn.remoteAddr);
    if (direct !== undefined) this.#heeded = heed(() => direct.hasInput);
  }

  /** Connects to "HOST:PORT". */
  static async connect(address: string): Promise<GdbClient> {
    const [hostname, port] = address.split(":");
    return new GdbClient(await Deno.connect({ hostname, port: Number(port) }));
  }

  /** Connects, says what gdb says, and turns acknowledgements off. */
  static async start(address: string): Promise<GdbClient> {
    const client = await GdbClient.connect(address);
    await client.ask("qSupported:multiprocess+;swbreak+;hwbreak+;vContSupported+");
    await client.ask("QStartNoAckMode");
    await client.raw("+");
    return client;
  }

  /** Sends bytes as they are. */
  async raw(bytes: Uint8Array | string): Promise<void> {
    for (let rest = typeof bytes === "string" ? ascii(bytes) : bytes; rest.length > 0;) {
      rest = rest.subarray(await this.#conn.write(rest));
    }
  }

  /** Sends one packet. */
  send(payload: Uint8Array | string): Promise<void> {
    return this.raw(framePacket(typeof payload === "string" ? ascii(payload) : payload));
  }

  /** The next packet of the server as text; undefined when it has hung up. */
  async next(): Promise<string | undefined> {
    for (;;) {
      const event = this.#events.shift();
      if (event?.kind === "packet") return latin1(event.payload);
      if (event?.kind === "ack") this.acks++;
      else if (event?.kind === "nak") this.naks++;
      else if (event !== undefined) throw new Error(`the server sent ${event.kind}`);
      else {
        const length = await this.#conn.read(this.#buffer).catch(() => null);
        if (length === null) return undefined;
        this.#events.push(...this.#reader.feed(this.#buffer.subarray(0, length)));
      }
    }
  }

  /** The next packet that is no output. */
  async reply(): Promise<string | undefined> {
    for (;;) {
      const packet = await this.next();
      if (packet === undefined || !/^O[0-9a-f]{2}/.test(packet)) return packet;
    }
  }

  /** Sends a packet and gives its answer. */
  async ask(payload: Uint8Array | string): Promise<string | undefined> {
    await this.send(payload);
    return await this.reply();
  }

  /** Hangs up. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.resolve();
    this.#heeded?.[Symbol.dispose]();
    try {
      this.#conn.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }
}

/** The text in the output packets of a `monitor` command. */
export async function monitor(client: GdbClient, line: string): Promise<string> {
  const hex = [...ascii(line)].map((b) => b.toString(16).padStart(2, "0")).join("");
  await client.send(`qRcmd,${hex}`);
  let output = "";
  for (;;) {
    const packet = await client.next();
    const digits = /^O((?:[0-9a-f]{2})+)$/.exec(packet ?? "")?.[1];
    if (digits === undefined) return packet === "OK" ? output : `${output}[${packet}]`;
    output += new TextDecoder().decode(
      Uint8Array.from(digits.match(/../g)!.map((pair) => parseInt(pair, 16))),
    );
  }
}
