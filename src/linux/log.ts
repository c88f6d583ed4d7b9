/**
 * The kernel's log out of its ring buffer (kernel/printk/printk_ringbuffer.c, Linux 5.10 and newer): a ring of
 * descriptors, a ring of what is known of each record, and a ring of text.
 */
import { UnsupportedError } from "../vm/errors.ts";
import { printable } from "../vm/printable.ts";
import type { Kernel } from "./kernel.ts";
import type { PagedReader } from "./paged_reader.ts";
import type { KernelTypes } from "./types.ts";

/** A record of the kernel's log. */
export interface LogRecord {
  /** Its number: they are given out one by one. */
  readonly sequence: bigint;
  /** Nanoseconds since the kernel's clock started. */
  readonly nanoseconds: bigint;
  /** 0 emergency, 1 alert, 2 critical, 3 error, 4 warning, 5 notice, 6 information, 7 debug; as in syslog(3). */
  readonly level: number;
  /** 0 kernel, 1 user; as in syslog(3). */
  readonly facility: number;
  /** Bit 31 set: which CPU, else which thread it is from. */
  readonly caller: number;
  /** What it says, safe for a terminal; may have several lines. */
  readonly text: string;
}

/** Descriptors: CONFIG_LOG_BUF_SHIFT has 25 at most, and a descriptor stands for 32 bytes of text. */
const MOST_COUNT_BITS = 20n;
const MOST_TEXT_BITS = 26n;
/** States of a descriptor, its topmost two bits (enum desc_state). */
const COMMITTED = 1n;
const FINALIZED = 2n;
const STATE_SHIFT = 62n;
const ID_MASK = (1n << STATE_SHIFT) - 1n;
/** A block of text starts with its descriptor's number. */
const BLOCK_HEAD = 8;
const OLDER = "log_first_idx";

/**
 * The records in the log, oldest first.
 *
 * @throws {UnsupportedError} If it is of the layout before 5.10, or nobody tells where its fields lie.
 * @throws {FaultError} If the kernel's pointers lead nowhere.
 */
export async function readLog(
  kernel: Kernel,
  memory: PagedReader,
  types: KernelTypes,
): Promise<LogRecord[]> {
  const pointer = kernel.lookup("prb");
  if (pointer === undefined) {
    throw new UnsupportedError(
      "linux",
      kernel.lookup(OLDER) === undefined
        ? "the kernel has no symbol prb: it has no log"
        : "the kernel's log has the layout from before Linux 5.10, which hvsh does not read",
      { remedy: "look at the guest's console instead: vm.console.text" },
    );
  }
  const at = await memory.u64(pointer);
  const ring = await readRing(at, memory, types);
  const infos = await memory.read(ring.infos, ring.count * ring.infoSize);
  const descriptors = await memory.read(ring.descriptors, ring.count * ring.descriptorSize);
  const text = await memory.read(ring.text, ring.textSize);
  const fields = { ...ring, descs: view(descriptors), info: view(infos), bytes: text, view: view(text) };
  const records: LogRecord[] = [];
  const mask = BigInt(ring.count - 1);
  // Numbers of descriptors wrap at 2^62.
  const many = Number(BigInt.asUintN(62, ring.head - ring.tail)) + 1;
  for (let i = 0; i < Math.min(many, ring.count); i++) {
    const record = readRecord(fields, BigInt.asUintN(62, ring.tail + BigInt(i)), mask);
    if (record !== undefined) records.push(record);
  }
  return records;
}

/** Where the three rings lie and how their entries look. */
interface Ring {
  readonly count: number;
  readonly descriptors: bigint;
  readonly infos: bigint;
  readonly head: bigint;
  readonly tail: bigint;
  readonly text: bigint;
  readonly textSize: number;
  readonly descriptorSize: number;
  readonly infoSize: number;
  readonly state: number;
  readonly begin: number;
  readonly next: number;
  readonly sequence: number;
  readonly time: number;
  readonly length: number;
  readonly caller: number;
}

async function readRing(at: bigint, memory: PagedReader, types: KernelTypes): Promise<Ring> {
  const place = (struct: string, field: string) => BigInt(types.offset(struct, field));
  const descRing = at + place("printk_ringbuffer", "desc_ring");
  const dataRing = at + place("printk_ringbuffer", "text_data_ring");
  const countBits = await memory.uint(descRing + place("prb_desc_ring", "count_bits"), 4);
  const textBits = await memory.uint(dataRing + place("prb_data_ring", "size_bits"), 4);
  if (countBits > MOST_COUNT_BITS || textBits > MOST_TEXT_BITS) {
    throw new UnsupportedError(
      "linux",
      `the kernel's log claims 2^${countBits} records in 2^${textBits} bytes`,
      {
        remedy: "its memory is damaged, or the kernel is too new for hvsh",
      },
    );
  }
  const counter = place("atomic_long_t", "counter");
  const positions = types.offset("prb_desc", "text_blk_lpos");
  return {
    count: 2 ** Number(countBits),
    descriptors: await memory.u64(descRing + place("prb_desc_ring", "descs")),
    infos: await memory.u64(descRing + place("prb_desc_ring", "infos")),
    head: await memory.u64(descRing + place("prb_desc_ring", "head_id") + counter) & ID_MASK,
    tail: await memory.u64(descRing + place("prb_desc_ring", "tail_id") + counter) & ID_MASK,
    text: await memory.u64(dataRing + place("prb_data_ring", "data")),
    textSize: 2 ** Number(textBits),
    descriptorSize: types.size("prb_desc"),
    infoSize: types.size("printk_info"),
    state: types.offset("prb_desc", "state_var") + Number(counter),
    begin: positions + types.offset("prb_data_blk_lpos", "begin"),
    next: positions + types.offset("prb_data_blk_lpos", "next"),
    sequence: types.offset("printk_info", "seq"),
    time: types.offset("printk_info", "ts_nsec"),
    length: types.offset("printk_info", "text_len"),
    caller: types.offset("printk_info", "caller_id"),
  };
}

interface RingBytes extends Ring {
  readonly descs: DataView;
  readonly info: DataView;
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

function readRecord(ring: RingBytes, id: bigint, mask: bigint): LogRecord | undefined {
  const slot = Number(id & mask);
  const desc = slot * ring.descriptorSize;
  const info = slot * ring.infoSize;
  if (Math.max(ring.state, ring.begin, ring.next) + 8 > ring.descriptorSize) return undefined;
  if (Math.max(ring.sequence, ring.time, ring.length, ring.caller) + 8 > ring.infoSize) return undefined;
  const state = ring.descs.getBigUint64(desc + ring.state, true);
  if ((state & ID_MASK) !== id) return undefined;
  const phase = state >> STATE_SHIFT;
  if (phase !== COMMITTED && phase !== FINALIZED) return undefined;
  const begin = ring.descs.getBigUint64(desc + ring.begin, true);
  const next = ring.descs.getBigUint64(desc + ring.next, true);
  const length = ring.info.getUint16(info + ring.length, true);
  const text = blockText(ring, begin, next, length, id);
  if (text === undefined) return undefined;
  // Facility, then flags and level: they stand behind the length since struct printk_info is there.
  const facility = ring.info.getUint8(info + ring.length + 2);
  const level = ring.info.getUint8(info + ring.length + 3) >> 5;
  return {
    sequence: ring.info.getBigUint64(info + ring.sequence, true),
    nanoseconds: ring.info.getBigUint64(info + ring.time, true),
    level,
    facility,
    caller: ring.info.getUint32(info + ring.caller, true),
    text: printable(new TextDecoder().decode(text)),
  };
}

/**
 * The text between two logical positions, which grow for ever. A block that would cross the end of the ring lies at
 * its start instead. Odd positions say that there is no text (BLK_DATALESS).
 */
function blockText(
  ring: RingBytes,
  begin: bigint,
  next: bigint,
  length: number,
  id: bigint,
): Uint8Array | undefined {
  if ((begin & 1n) !== 0n) return (next & 1n) !== 0n ? new Uint8Array(0) : undefined;
  const size = BigInt(ring.textSize);
  const nextIndex = Number(next % size);
  let start = Number(begin % size);
  let end = nextIndex;
  if (begin / size !== next / size) {
    if (BigInt.asUintN(64, begin + size) / size !== next / size) return undefined;
    // Since 6.17 a block may end exactly where the ring does.
    if (nextIndex === 0) end = ring.textSize;
    else start = 0;
  }
  if (start % 8 !== 0 || end - start < BLOCK_HEAD) return undefined;
  if ((ring.view.getBigUint64(start, true) & ID_MASK) !== id) return undefined;
  return ring.bytes.subarray(start + BLOCK_HEAD, Math.min(end, start + BLOCK_HEAD + length));
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
