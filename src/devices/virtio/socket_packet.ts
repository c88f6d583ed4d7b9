/** Packets of the socket device (virtio 1.2, 5.10.6), both ways. */

/** What a packet is for (5.10.6). */
export const OP = {
  REQUEST: 1,
  RESPONSE: 2,
  RST: 3,
  SHUTDOWN: 4,
  RW: 5,
  CREDIT_UPDATE: 6,
  CREDIT_REQUEST: 7,
} as const;
const OP_NAMES = new Map<number, string>(Object.entries(OP).map(([name, op]) => [op, name]));

/** Hints of SHUTDOWN: the sender receives no more, sends no more (5.10.6.5). */
export const SHUTDOWN = { RECEIVE: 1, SEND: 2, BOTH: 3 } as const;
/** A stream socket. */
export const STREAM = 1;
/** The host's address (5.10.4). */
export const HOST_CID = 2n;
/** struct virtio_vsock_hdr. */
export const HEADER_BYTES = 44;

/** The header. */
export interface SocketHeader {
  readonly source: bigint;
  readonly destination: bigint;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Bytes behind the header. */
  readonly length: number;
  readonly type: number;
  readonly op: number;
  readonly flags: number;
  /** Bytes that the sender has room for in all, and how many it has passed on since the beginning, modulo 2^32. */
  readonly room: number;
  readonly forwarded: number;
}

/** Takes a header apart. */
export function readHeader(bytes: Uint8Array): SocketHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  return {
    source: view.getBigUint64(0, true),
    destination: view.getBigUint64(8, true),
    sourcePort: view.getUint32(16, true),
    destinationPort: view.getUint32(20, true),
    length: view.getUint32(24, true),
    type: view.getUint16(28, true),
    op: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    room: view.getUint32(36, true),
    forwarded: view.getUint32(40, true),
  };
}

/** The bytes of a header. */
export function writeHeader(header: SocketHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, header.source, true);
  view.setBigUint64(8, header.destination, true);
  view.setUint32(16, header.sourcePort, true);
  view.setUint32(20, header.destinationPort, true);
  view.setUint32(24, header.length, true);
  view.setUint16(28, header.type, true);
  view.setUint16(30, header.op, true);
  view.setUint32(32, header.flags, true);
  view.setUint32(36, header.room, true);
  view.setUint32(40, header.forwarded, true);
  return bytes;
}

/** A packet in words: "RW 1234 to 2:80, 5 bytes". */
export function describePacket(
  { op, sourcePort, destination, destinationPort, length }: SocketHeader,
): string {
  const name = OP_NAMES.get(op) ?? `op ${op}`;
  const bytes = op === OP.RW ? `, ${length} bytes` : "";
  return `${name} ${sourcePort} to ${destination}:${destinationPort}${bytes}`;
}
