/** What a guest's sockets lead to at the host: streams of bytes, by port number. */

/** A connection's other end. Nothing here waits. */
export interface SocketStream {
  /** Sends; what there is no room for is kept, and goes at the next `flush`. */
  send(bytes: Uint8Array): void;
  /** Sends what is kept, as far as there is room. */
  flush(): void;
  /** Bytes that are kept. */
  readonly unsent: number;
  /** What has arrived, valid until the next call; undefined if nothing has. */
  receive(): Uint8Array | undefined;
  /** Nothing more will arrive. */
  readonly finished: boolean;
  /** The other side is gone: what is sent is lost. */
  readonly ended: boolean;
  /** Tells the other side that nothing more will be sent. */
  finish(): void;
  /** Ends it; twice is harmless. */
  close(): void;
}

/** Whom a guest may connect to, and who may connect to it. */
export interface SocketBacking extends Disposable {
  /** What messages call it. */
  readonly name: string;
  /** The guest connects to `port` of the host; undefined refuses it. */
  connect(port: number): SocketStream | undefined;
  /** A connection from outside to a port of the guest's, or undefined. Never waits. */
  accept(): { readonly port: number; readonly stream: SocketStream } | undefined;
}
