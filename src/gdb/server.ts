/** Listens for gdb, one client at a time. */
import { framePacket, PacketReader } from "../abi/rsp.ts";
import { InputError } from "../vm/errors.ts";
import type { Machine } from "../vm/machine.ts";
import { type DirectLine, GdbConnection, type Line } from "./connection.ts";
import type { Monitor } from "./session.ts";
import { ascii } from "./text.ts";

/** How a guest is served to gdb. */
export interface GdbServerOptions {
  /** TCP port; 0 (the default) takes a free one. */
  readonly port?: number;
  /**
   * Address to listen on; 127.0.0.1 by default. Whoever reaches the port can read and change the whole guest, and with
   * `monitor` do on this host what the shell can: anything but loopback is for networks where that is meant.
   */
  readonly host?: string;
  /** Path of a Unix socket, instead of a port; it is made, and removed at the end. */
  readonly path?: string;
  /** What `monitor LINE` in gdb runs; it resolves with its output. Without it there are no such commands. */
  readonly monitor?: Monitor;
  /** Told what the user of the server may want to know: that a client came, left, or was refused. */
  readonly tell?: (text: string) => void;
}

/** A guest that is served to gdb. Disposing of it ends that; the guest stays. */
export interface GdbServer extends AsyncDisposable {
  /** What to give gdb's `target remote`: "127.0.0.1:1234", or a socket's path. */
  readonly address: string;
  /** Stops listening and disconnects the client; its breakpoints are taken out. Idempotent. */
  close(): Promise<void>;
}

/** How long another client waits for the one before to have left: `disconnect` and `target remote` follow at once. */
const LEAVING_MS = 500;
/** How long a client that is refused is listened to, so that it hears why. */
const REFUSAL_MS = 2_000;
/** Packets of it that are answered so: gdb takes an error for its first packet lightly, and gives up by a later one. */
const REFUSED_PACKETS = 16;
/** Clients that are being refused at one time; more are cut off without a word. */
const REFUSALS = 8;

/** How long nobody is taken in after that failed. */
const RETRY_MS = 100;

const REFUSAL = "E.another debugger holds this guest: detach it first";

/** Finds the quick way to a connection's socket, where the host has one. */
export type Shortcut = (conn: Deno.Conn) => DirectLine | undefined;

/**
 * Serves `vm` to gdb and lldb.
 *
 * @throws {InputError} If the address can't be listened on.
 */
export function serveGdb(vm: Machine, options: GdbServerOptions = {}, shortcut?: Shortcut): GdbServer {
  return new Server(vm, options, shortcut);
}

class Server implements GdbServer {
  readonly address: string;
  readonly #vm: Machine;
  readonly #shortcut: Shortcut;
  readonly #options: GdbServerOptions;
  readonly #listener: Deno.Listener;
  readonly #accepting: Promise<void>;
  readonly #refused = new Set<Deno.Conn>();
  #client: { readonly connection: GdbConnection; readonly served: Promise<void> } | undefined;
  #closing: Promise<void> | undefined;

  constructor(vm: Machine, options: GdbServerOptions, shortcut: Shortcut = () => undefined) {
    this.#shortcut = shortcut;
    this.#vm = vm;
    this.#options = options;
    this.#listener = listen(options);
    const { addr } = this.#listener;
    this.address = addr.transport === "tcp" ? `${bracketed(addr.hostname)}:${addr.port}` : options.path ?? "";
    this.#accepting = this.#accept();
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #close(): Promise<void> {
    this.#listener.close();
    for (const conn of this.#refused) quietly(conn);
    const client = this.#client;
    client?.connection.close();
    await this.#accepting;
    await client?.served;
    if (this.#options.path !== undefined) {
      await Deno.remove(this.#options.path).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    }
  }

  async #accept(): Promise<void> {
    while (this.#closing === undefined) {
      try {
        for await (const conn of this.#listener) this.#come(conn);
        return;
      } catch (error) {
        // No descriptor is left, or it was gone before it was here: others may come.
        this.#unserved(error);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #unserved(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    this.#options.tell?.(`gdb: a client can't be served: ${reason}`);
  }

  #come(conn: Deno.Conn): void {
    if (this.#closing !== undefined) quietly(conn);
    else if (this.#client === undefined) this.#serve(conn);
    else if (this.#refused.size >= REFUSALS) quietly(conn);
    else void this.#keepWaiting(conn, this.#client.served);
  }

  /** Serves a client once the one before has left, if that is soon. @param left Resolves when it has. */
  async #keepWaiting(conn: Deno.Conn, left: Promise<void>): Promise<void> {
    this.#refused.add(conn);
    let timer: ReturnType<typeof setTimeout> | undefined;
    const time = new Promise<void>((resolve) => timer = setTimeout(resolve, LEAVING_MS));
    try {
      await Promise.race([left, time]);
      if (this.#closing !== undefined) return quietly(conn);
      if (this.#client === undefined) return this.#serve(conn);
      await this.#refuse(conn);
    } finally {
      clearTimeout(timer);
      this.#refused.delete(conn);
    }
  }

  #serve(conn: Deno.Conn): void {
    const { tell = () => {}, monitor } = this.#options;
    let line: Line;
    try {
      if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
      line = lineOf(conn, this.#shortcut(conn));
    } catch (error) {
      // It has hung up already.
      this.#unserved(error);
      return quietly(conn);
    }
    const connection = new GdbConnection(line, this.#vm, tell, monitor);
    tell("gdb: a client is here");
    const served = connection.serve()
      .catch((error) =>
        tell(`gdb: the session ended badly: ${error instanceof Error ? error.message : error}`)
      )
      .then(() => {
        this.#client = undefined;
        tell("gdb: the client has left");
      });
    this.#client = { connection, served };
  }

  /** Answers packets, whatever they are, with the reason. */
  async #refuse(conn: Deno.Conn): Promise<void> {
    this.#options.tell?.("gdb: a second client was refused");
    const timer = setTimeout(() => quietly(conn), REFUSAL_MS);
    try {
      const reader = new PacketReader({ limit: 4096, runLengths: false });
      const buffer = new Uint8Array(4096);
      for (let packets = 0; packets < REFUSED_PACKETS;) {
        const length = await conn.read(buffer);
        if (length === null) return;
        for (const { kind } of reader.feed(buffer.subarray(0, length))) {
          if (kind !== "packet") continue;
          packets++;
          await conn.write(ascii("+"));
          await conn.write(framePacket(ascii(REFUSAL)));
        }
      }
    } catch {
      // It left, or its time was over.
    } finally {
      clearTimeout(timer);
      quietly(conn);
    }
  }
}

function listen({ port = 0, host = "127.0.0.1", path }: GdbServerOptions): Deno.Listener {
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new InputError(`a port is a number from 0 to 65535, not ${port}`, { remedy: "0 takes a free one" });
  }
  try {
    return path === undefined
      ? Deno.listen({ hostname: host, port })
      : Deno.listen({ transport: "unix", path }) as unknown as Deno.Listener;
  } catch (error) {
    const place = path ?? `${bracketed(host)}:${port}`;
    const taken = error instanceof Deno.errors.AddrInUse;
    throw new InputError(`gdb can't be listened for on ${place}: ${(error as Error).message}`, {
      cause: error,
      remedy: taken
        ? path === undefined
          ? "take another port, or 0 for a free one"
          : "remove the socket, or take another path"
        : "give a port, or a path that can be made",
    });
  }
}

function lineOf(conn: Deno.Conn, direct: DirectLine | undefined): Line {
  return {
    ...(direct && { direct }),
    read: (into) => conn.read(into),
    write: (bytes) => conn.write(bytes),
    close: () => quietly(conn),
  };
}

/** Closes a connection that may be closed already. */
function quietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch (error) {
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}
