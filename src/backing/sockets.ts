/** A guest's socket ports and Unix domain sockets of this host. */
import { HostError } from "../host/error.ts";
import { HostListener } from "../host/listener.ts";
import { HostStream } from "../host/stream.ts";
import { InputError } from "../vm/errors.ts";
import type { SocketBacking, SocketStream } from "../vm/socket.ts";

/** Which ports lead where. */
export interface UnixSocketsOptions {
  /** What the guest may connect to: ports of the host (address 2), and the path of the socket behind each. */
  readonly connect?: Readonly<Record<number, string>>;
  /** What leads to the guest: paths of sockets that are made here, for this user alone, and a port of the guest's. */
  readonly listen?: readonly { readonly path: string; readonly port: number }[];
}

/**
 * Opens what listens, and nothing else: the guest's connections are made when it asks for them.
 *
 * @throws {InputError} If a port makes no sense.
 * @throws {HostError} If a socket can't be made.
 */
export function openUnixSockets({ connect = {}, listen = [] }: UnixSocketsOptions): SocketBacking {
  for (const port of [...Object.keys(connect).map(Number), ...listen.map(({ port }) => port)]) {
    if (Number.isInteger(port) && port >= 0 && port < 0xffff_ffff) continue;
    throw new InputError(`there is no socket port ${port}`, { remedy: "give ports of 0 to 4294967294" });
  }
  using cleanup = new DisposableStack();
  const listeners = listen.map(({ path, port }) => ({ port, listener: cleanup.use(new HostListener(path)) }));
  const owned = cleanup.move();
  const places = [...Object.values(connect), ...listen.map(({ path }) => path)];
  return {
    name: places.join(", ") || "nothing",
    connect(port) {
      if (!Object.hasOwn(connect, port)) return undefined;
      try {
        return streamOf(HostStream.unix(connect[port]));
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        // Nobody listens there now: the guest is refused, as at any host.
        return undefined;
      }
    },
    accept() {
      for (const { port, listener } of listeners) {
        const stream = listener.accept();
        if (stream !== undefined) return { port, stream: streamOf(stream) };
      }
      return undefined;
    },
    [Symbol.dispose]: () => owned[Symbol.dispose](),
  };
}

function streamOf(stream: HostStream): SocketStream {
  return {
    send: (bytes) => stream.send(bytes),
    flush: () => stream.flush(),
    receive: () => stream.receivePart(),
    finish: () => stream.finish(),
    close: () => stream.close(),
    get unsent() {
      return stream.unsent;
    },
    get finished() {
      return stream.finished;
    },
    get ended() {
      return stream.ended;
    },
  };
}
