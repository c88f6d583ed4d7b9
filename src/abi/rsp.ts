/**
 * Packets of GDB's remote serial protocol, as bytes: framing, checksum, escapes, run lengths, hexadecimal.
 * GDB manual, appendix E.1 "Overview". Nothing here knows what a packet asks for.
 */

/** What a client sends outside of any packet to stop a running target (E.10 "Interrupts"). */
export const INTERRUPT = 0x03;

const DOLLAR = 0x24;
const HASH = 0x23;
const PERCENT = 0x25;
const STAR = 0x2a;
const PLUS = 0x2b;
const MINUS = 0x2d;
const ESCAPE = 0x7d;
/** What an escaped byte is XORed with. */
const ESCAPE_XOR = 0x20;

/** A repeat count is sent as a character of this much more, so that it can be printed. */
const COUNT_BIAS = 29;
/** Fewest and most repeats of one `*`: its character is from 32 to 126. */
const FEWEST = 3;
const MOST = 97;

/** What came over the line. */
export type RspEvent =
  /** A whole packet with a good checksum: its payload, escapes and run lengths undone. */
  | { readonly kind: "packet"; readonly payload: Uint8Array }
  /** A notification, `%...#xx`: as a packet, but never acknowledged. */
  | { readonly kind: "notification"; readonly payload: Uint8Array }
  /** `+` and `-` outside of packets: the other side has the packet, or wants it again. */
  | { readonly kind: "ack" }
  | { readonly kind: "nak" }
  /** A byte 3 outside of packets. */
  | { readonly kind: "interrupt" }
  /**
   * A packet that is to be asked for again, if at all: bad checksum, more than `limit` bytes, an escape or a run
   * length that makes no sense, or `truncated`: another packet began within it.
   */
  | { readonly kind: "corrupt"; readonly reason: "checksum" | "oversized" | "encoding" | "truncated" };

/** How a stream of packets is read. */
export interface PacketReaderOptions {
  /** Most bytes of a payload, as framed and once decoded. */
  readonly limit: number;
  /** Whether `*` means a run length: in what a stub sends. In what a client sends it is data. */
  readonly runLengths: boolean;
}

/** Sum of all bytes modulo 256. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += bytes[i];
  return sum & 0xff;
}

/** `bytes` with `#`, `$`, `*` and `}` escaped; `bytes` itself where there are none. */
export function escapeBytes(bytes: Uint8Array): Uint8Array {
  let special = 0;
  for (let i = 0; i < bytes.length; i++) if (isSpecial(bytes[i])) special++;
  if (special === 0) return bytes;
  const out = new Uint8Array(bytes.length + special);
  let at = 0;
  for (const byte of bytes) {
    if (isSpecial(byte)) {
      out[at++] = ESCAPE;
      out[at++] = byte ^ ESCAPE_XOR;
    } else out[at++] = byte;
  }
  return out;
}

/** Undoes `escapeBytes`; `bytes` itself where there are no escapes, undefined if it ends within one. */
export function unescapeBytes(bytes: Uint8Array): Uint8Array | undefined {
  let from = bytes.indexOf(ESCAPE);
  if (from < 0) return bytes;
  const out = new Uint8Array(bytes.length);
  out.set(bytes.subarray(0, from));
  let at = from;
  for (; from < bytes.length; from++) {
    if (bytes[from] !== ESCAPE) out[at++] = bytes[from];
    else if (++from === bytes.length) return undefined;
    else out[at++] = bytes[from] ^ ESCAPE_XOR;
  }
  return out.subarray(0, at);
}

/** Run lengths for escaped bytes: `0*"` is `0000`. */
export function compressRuns(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  let at = 0;
  for (let i = 0; i < bytes.length;) {
    const byte = bytes[i];
    let run = 1;
    while (run <= MOST && bytes[i + run] === byte) run++;
    let repeats = run - 1;
    // The counts whose characters are # and $ would end or begin a packet.
    if (repeats + COUNT_BIAS === HASH || repeats + COUNT_BIAS === DOLLAR) repeats = HASH - COUNT_BIAS - 1;
    out[at++] = byte;
    if (repeats >= FEWEST) {
      out[at++] = STAR;
      out[at++] = repeats + COUNT_BIAS;
      i += repeats + 1;
    } else i++;
  }
  return out.subarray(0, at);
}

/** Undoes `compressRuns`; undefined if it makes no sense or more than `limit` bytes. */
export function expandRuns(bytes: Uint8Array, limit: number): Uint8Array | undefined {
  if (!bytes.includes(STAR)) return bytes;
  const repeatsAt = (star: number) => star === 0 ? 0 : (bytes[star + 1] ?? 0) - COUNT_BIAS;
  let length = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] !== STAR) length++;
    else if (repeatsAt(i) < FEWEST || repeatsAt(i) > MOST) return undefined;
    else length += repeatsAt(i++);
    if (length > limit) return undefined;
  }
  const out = new Uint8Array(length);
  let at = 0;
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] !== STAR) out[at++] = bytes[i];
    else {
      const repeats = repeatsAt(i++);
      out.fill(out[at - 1], at, at + repeats);
      at += repeats;
    }
  }
  return out;
}

/**
 * A packet ready to be sent: `$`, the payload with escapes, `#`, checksum.
 *
 * @param options `runLengths` shortens repeated bytes, which only a stub may do; `notification` begins with `%`.
 */
export function framePacket(
  payload: Uint8Array,
  options: { runLengths?: boolean; notification?: boolean } = {},
): Uint8Array {
  const escaped = escapeBytes(payload);
  const body = options.runLengths ? compressRuns(escaped) : escaped;
  const packet = new Uint8Array(body.length + 4);
  packet[0] = options.notification ? PERCENT : DOLLAR;
  packet.set(body, 1);
  packet[body.length + 1] = HASH;
  const sum = checksum(body);
  packet[body.length + 2] = HEX_DIGITS[sum >> 4];
  packet[body.length + 3] = HEX_DIGITS[sum & 15];
  return packet;
}

/** Finds packets in what comes over the line, however it is cut into pieces. */
export class PacketReader {
  readonly #limit: number;
  readonly #runLengths: boolean;
  /** What has come of the packet that is not whole yet, from its `$` or `%`; empty between packets. */
  #pending: Uint8Array = new Uint8Array(0);
  #length = 0;
  /** Where in `#pending` its `#` lies, or -1. */
  #hash = -1;
  #oversized = false;

  constructor(options: PacketReaderOptions) {
    this.#limit = options.limit;
    this.#runLengths = options.runLengths;
  }

  /** Whether a packet has begun and not ended. */
  get within(): boolean {
    return this.#length > 0;
  }

  /** Takes the next bytes. What they complete comes back in the order in which it was sent. */
  feed(bytes: Uint8Array): RspEvent[] {
    const events: RspEvent[] = [];
    for (let at = 0; at < bytes.length;) {
      if (this.#length > 0) at = this.#inside(bytes, at, events);
      else at = this.#plain(bytes, at, events) ?? this.#outside(bytes, at, events);
    }
    return events;
  }

  /**
   * The short way for what nearly all packets are: whole, right, without escapes and run lengths.
   *
   * @returns Where it ends; undefined if it is none such.
   */
  #plain(bytes: Uint8Array, at: number, events: RspEvent[]): number | undefined {
    if (bytes[at] !== DOLLAR) return undefined;
    let sum = 0;
    let hash = at + 1;
    for (; hash < bytes.length; hash++) {
      const byte = bytes[hash];
      if (byte === HASH) break;
      if (byte === ESCAPE || byte === DOLLAR || (byte === STAR && this.#runLengths)) return undefined;
      sum += byte;
    }
    if (hash - at - 1 > this.#limit) return undefined;
    // Undefined, and so worth -1, where it has not come yet.
    if ((hexValue(bytes[hash + 1]) << 4 | hexValue(bytes[hash + 2])) !== (sum & 0xff)) return undefined;
    events.push({ kind: "packet", payload: bytes.slice(at + 1, hash) });
    return hash + 3;
  }

  #outside(bytes: Uint8Array, at: number, events: RspEvent[]): number {
    switch (bytes[at]) {
      case DOLLAR:
      case PERCENT:
        this.#begin(bytes[at]);
        break;
      case PLUS:
        events.push({ kind: "ack" });
        break;
      case MINUS:
        events.push({ kind: "nak" });
        break;
      case INTERRUPT:
        events.push({ kind: "interrupt" });
        break;
        // Anything else is noise on the line (E.1).
    }
    return at + 1;
  }

  #begin(first: number): void {
    if (this.#pending.length === 0) this.#pending = new Uint8Array(Math.min(this.#limit + 4, 256));
    this.#pending[0] = first;
    this.#length = 1;
    this.#hash = -1;
    this.#oversized = false;
  }

  #inside(bytes: Uint8Array, at: number, events: RspEvent[]): number {
    if (this.#hash < 0) {
      let end = at;
      while (end < bytes.length && bytes[end] !== HASH && bytes[end] !== DOLLAR) end++;
      this.#append(bytes.subarray(at, end));
      if (end === bytes.length) return end;
      if (bytes[end] === DOLLAR) {
        events.push({ kind: "corrupt", reason: "truncated" });
        this.#begin(DOLLAR);
        return end + 1;
      }
      this.#hash = this.#length;
      this.#append(bytes.subarray(end, end + 1), true);
      return end + 1;
    }
    const wanted = this.#hash + 3 - this.#length;
    const given = bytes.subarray(at, at + wanted);
    this.#append(given, true);
    if (given.length === wanted) {
      events.push(this.#finish());
      this.#length = 0;
      // One large packet shall not keep its room for ever.
      if (this.#pending.length > 65536) this.#pending = new Uint8Array(0);
    }
    return at + given.length;
  }

  #append(bytes: Uint8Array, always = false): void {
    if (!always && this.#length - 1 + bytes.length > this.#limit) {
      this.#oversized = true;
      return;
    }
    const needed = this.#length + bytes.length;
    if (needed > this.#pending.length) {
      const larger = new Uint8Array(Math.min(Math.max(needed, this.#pending.length * 2), this.#limit + 4));
      larger.set(this.#pending.subarray(0, this.#length));
      this.#pending = larger;
    }
    this.#pending.set(bytes, this.#length);
    this.#length = needed;
  }

  #finish(): RspEvent {
    if (this.#oversized) return { kind: "corrupt", reason: "oversized" };
    const body = this.#pending.slice(1, this.#hash);
    const high = hexValue(this.#pending[this.#hash + 1]);
    const low = hexValue(this.#pending[this.#hash + 2]);
    if (high < 0 || low < 0 || (high << 4 | low) !== checksum(body)) {
      return { kind: "corrupt", reason: "checksum" };
    }
    const expanded = this.#runLengths ? expandRuns(body, this.#limit) : body;
    const payload = expanded && unescapeBytes(expanded);
    if (payload === undefined) return { kind: "corrupt", reason: "encoding" };
    return { kind: this.#pending[0] === DOLLAR ? "packet" : "notification", payload };
  }
}

/** Lower-case hexadecimal digits, two for a byte, as characters. */
export function toHex(bytes: Uint8Array): Uint8Array {
  return encoder.encode(bytes.toHex());
}

/** Bytes whose digits are one part of a long packet: what fits a processor's nearer caches. */
const PART_BYTES = 16 * 1024;
/** A `$`, the digits of a part, `#` and a checksum. */
const part = new Uint8Array(2 * PART_BYTES + 4);

/**
 * A packet with `toHex` of `bytes` for its payload, in parts: `framePacket` in one pass, for what is long. While the
 * next part is written, the other side can read the one before.
 *
 * @returns Parts that are valid until the next one is asked for, by anyone.
 */
export function* hexParts(bytes: Uint8Array): Generator<Uint8Array, void, void> {
  let sum = 0;
  let at = 0;
  do {
    const some = bytes.subarray(at, at + PART_BYTES);
    let length = 0;
    if (at === 0) part[length++] = DOLLAR;
    length += encoder.encodeInto(some.toHex(), part.subarray(length)).written;
    sum += digitSum(some);
    at += PART_BYTES;
    if (at >= bytes.length) {
      part[length++] = HASH;
      part[length++] = HEX_DIGITS[sum >> 4 & 15];
      part[length++] = HEX_DIGITS[sum & 15];
    }
    yield part.subarray(0, length);
  } while (at < bytes.length);
}

/** The parts of `hexParts` as one. */
export function frameHex(bytes: Uint8Array): Uint8Array {
  const packet = new Uint8Array(2 * bytes.length + 4);
  let at = 0;
  for (const some of hexParts(bytes)) {
    packet.set(some, at);
    at += some.length;
  }
  return packet;
}

/** Every other nibble of a word, and every other byte. */
const NIBBLES = 0x0f0f0f0f;
const BYTES = 0x00ff00ff;
/** Words whose four bytes of at most 2 * (15 + 39) add up within 16 bits. */
const WORDS = 256;

/**
 * The sum of the characters of `toHex(bytes)`: `0` for each digit, what it is worth, and 39 more for a letter. Four
 * bytes at a time, two digits in each byte of a word, since a table of pairs would crowd out what is summed up.
 */
function digitSum(bytes: Uint8Array): number {
  let sum = 2 * bytes.length * HEX_DIGITS[0];
  let at = 0;
  if (bytes.byteOffset % 4 === 0) {
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
    for (let i = 0; i < words.length;) {
      let lanes = 0;
      for (const end = Math.min(words.length, i + WORDS); i < end; i++) {
        const word = words[i];
        if (word === 0) continue;
        const low = word & NIBBLES;
        const high = word >>> 4 & NIBBLES;
        const letters = (low + 0x06060606 >>> 4 & 0x01010101) + (high + 0x06060606 >>> 4 & 0x01010101);
        const digits = low + high + 39 * letters;
        lanes += (digits & BYTES) + (digits >>> 8 & BYTES);
      }
      sum += (lanes & 0xffff) + (lanes >>> 16);
    }
    at = 4 * words.length;
  }
  for (; at < bytes.length; at++) {
    sum += HEX_DIGITS[bytes[at] >> 4] + HEX_DIGITS[bytes[at] & 15] - 2 * HEX_DIGITS[0];
  }
  return sum;
}

/** Undoes `toHex`, in either case; undefined for half a byte or another character. */
export function fromHex(digits: Uint8Array): Uint8Array | undefined {
  if (digits.length % 2 !== 0) return undefined;
  const out = new Uint8Array(digits.length / 2);
  for (let i = 0, at = 0; i < out.length; i++) {
    const value = HEX_VALUES[digits[at++]] << 4 | HEX_VALUES[digits[at++]];
    if (value < 0) return undefined;
    out[i] = value;
  }
  return out;
}

/** What one hexadecimal digit, given as a character, is worth; -1 for another character. */
export function hexValue(digit: number): number {
  return HEX_VALUES[digit] ?? -1;
}

const encoder = new TextEncoder();

/** The digits 0 to f as characters. */
export const HEX_DIGITS: Uint8Array = encoder.encode("0123456789abcdef");

const HEX_VALUES = new Int8Array(256).fill(-1);
for (let i = 0; i < 16; i++) {
  HEX_VALUES[HEX_DIGITS[i]] = i;
  HEX_VALUES[i.toString(16).toUpperCase().charCodeAt(0)] = i;
}

function isSpecial(byte: number): boolean {
  return byte === DOLLAR || byte === HASH || byte === STAR || byte === ESCAPE;
}
