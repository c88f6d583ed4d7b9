/** An empty qcow2 image (docs/interop/qcow2.txt of QEMU): room for states of the machine. */

const CLUSTER_BITS = 16;
const CLUSTER = 1 << CLUSTER_BITS;
/** Bytes that one entry of the first table stands for: a second table of 8-byte entries, a cluster each. */
const SPAN = (CLUSTER / 8) * CLUSTER;
const VERSION = 2;
/** "QFI" and 0xfb. */
const MAGIC = 0x514649fb;

/** The image's four clusters: header, refcount table, refcount block, first table. */
export function emptyQcow2(size: number): Uint8Array {
  const bytes = new Uint8Array(4 * CLUSTER);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint32(4, VERSION);
  view.setUint32(20, CLUSTER_BITS);
  view.setBigUint64(24, BigInt(size));
  view.setUint32(36, Math.ceil(size / SPAN));
  view.setBigUint64(40, BigInt(3 * CLUSTER));
  view.setBigUint64(48, BigInt(CLUSTER));
  view.setUint32(56, 1);
  view.setBigUint64(CLUSTER, BigInt(2 * CLUSTER));
  for (let i = 0; i < 4; i++) view.setUint16(2 * CLUSTER + 2 * i, 1);
  return bytes;
}
