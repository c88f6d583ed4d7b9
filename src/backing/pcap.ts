/** Recording what goes over a network, in the format that tcpdump and Wireshark read (libpcap's, version 2.4). */
import { InputError } from "../vm/errors.ts";
import type { NetBacking } from "../vm/net.ts";

/** Microseconds; as they are, so that the reader finds the byte order. */
const MAGIC = 0xa1b2c3d4;
const ETHERNET = 1;
const HEADER_BYTES = 24;
const RECORD_BYTES = 16;
const SNAP_BYTES = 262_144;
/** Bytes of one recording: a guest can send for ever. */
const FILE_LIMIT = 1 << 30;

/**
 * A network whose frames, both ways, are written to `path`. When the file has 1 GiB, or can't be written, recording
 * ends with a notice and the network goes on.
 *
 * @throws {InputError} If the file can't be made.
 */
export function recorded(network: NetBacking, path: string, limit = FILE_LIMIT): NetBacking {
  let file: Deno.FsFile | undefined;
  try {
    file = Deno.openSync(path, { write: true, create: true, truncate: true });
  } catch (cause) {
    network[Symbol.dispose]();
    throw new InputError(`${path} can't be written`, { cause, remedy: "choose another file for pcap" });
  }
  let written = 0;
  let notice: string | undefined;
  const end = (why?: string) => {
    file?.close();
    file = undefined;
    if (why !== undefined) notice = `${path} records no more: ${why}`;
  };
  const put = (bytes: Uint8Array) => {
    try {
      for (let done = 0; done < bytes.length;) done += file!.writeSync(bytes.subarray(done));
      written += bytes.length;
    } catch (error) {
      end(error instanceof Error ? error.message : String(error));
    }
  };
  const record = (frame: Uint8Array) => {
    if (file === undefined) return;
    if (written + RECORD_BYTES + frame.length > limit) return end(`it has ${written} bytes`);
    const bytes = new Uint8Array(RECORD_BYTES + frame.length);
    const view = new DataView(bytes.buffer);
    const now = performance.timeOrigin + performance.now();
    view.setUint32(0, Math.floor(now / 1000), true);
    view.setUint32(4, Math.floor(now % 1000 * 1000), true);
    view.setUint32(8, frame.length, true);
    view.setUint32(12, frame.length, true);
    bytes.set(frame, RECORD_BYTES);
    put(bytes);
  };
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  header.setUint32(0, MAGIC, true);
  header.setUint16(4, 2, true);
  header.setUint16(6, 4, true);
  header.setUint32(16, SNAP_BYTES, true);
  header.setUint32(20, ETHERNET, true);
  put(new Uint8Array(header.buffer));
  return {
    name: network.name,
    send(frame) {
      record(frame);
      network.send(frame);
    },
    receive() {
      const frame = network.receive();
      if (frame !== undefined) record(frame);
      return frame;
    },
    notice() {
      const told = notice ?? network.notice?.();
      notice = undefined;
      return told;
    },
    [Symbol.dispose]() {
      end();
      network[Symbol.dispose]();
    },
  };
}
