/** The GDB remote protocol's packets as a client sees them (GDB manual, appendix E.1). */

const DOLLAR = 0x24;
const HASH = 0x23;
const STAR = 0x2a;
const PLUS = 0x2b;
const MINUS = 0x2d;
const PERCENT = 0x25;
const ESCAPE = 0x7d;

/** A packet longer than that is none: nothing that is asked for here is. */
export const PACKET_LIMIT = 1 << 20;

const decoder = new TextDecoder("latin1");

/** `$payload#checksum`; the payload is ASCII without `$`, `#` and `}`. */
export function packet(payload: string): Uint8Array {
  const bytes = new Uint8Array(payload.length + 4);
  let sum = 0;
  bytes[0] = DOLLAR;
  for (let i = 0; i < payload.length; i++) {
    const code = payload.charCodeAt(i);
    bytes[i + 1] = code;
    sum += code;
  }
  bytes[payload.length + 1] = HASH;
  bytes[payload.length + 2] = HEX[sum >> 4 & 15];
  bytes[payload.length + 3] = HEX[sum & 15];
  return bytes;
}

const HEX = new TextEncoder().encode("0123456789abcdef");

/** What a stream of bytes came to. */
export type Received =
  | { readonly kind: "packet"; readonly text: string }
  | { readonly kind: "bad"; readonly why: string }
  | { readonly kind: "nack" };

/** Cuts a stream of bytes into packets. */
export class PacketReader {
  #state: "idle" | "data" | "sum1" | "sum2" = "idle";
  #data = new Uint8Array(4096);
  #length = 0;
  #sum = 0;
  #given = 0;
  #notification = false;

  /** Takes bytes as they come; gives what was completed by them. Notifications and acknowledgements are dropped. */
  take(bytes: Uint8Array): Received[] {
    const received: Received[] = [];
    for (const byte of bytes) {
      switch (this.#state) {
        case "idle":
          if (byte === DOLLAR || byte === PERCENT) {
            this.#state = "data";
            this.#notification = byte === PERCENT;
            this.#length = this.#sum = 0;
          } else if (byte === MINUS) received.push({ kind: "nack" });
          else if (byte !== PLUS) {
            received.push({ kind: "bad", why: `byte 0x${byte.toString(16)} between packets` });
          }
          break;
        case "data":
          if (byte === HASH) this.#state = "sum1";
          else if (byte === DOLLAR) {
            received.push({ kind: "bad", why: "a packet begins inside another" });
            this.#length = this.#sum = 0;
          } else if (!this.#keep(byte)) {
            received.push({ kind: "bad", why: `a packet of more than ${PACKET_LIMIT} bytes` });
            this.#state = "idle";
          }
          break;
        case "sum1":
          this.#given = digit(byte) << 4;
          this.#state = "sum2";
          break;
        case "sum2": {
          this.#state = "idle";
          if ((this.#given | digit(byte)) !== (this.#sum & 255)) {
            received.push({ kind: "bad", why: "a wrong checksum" });
            break;
          }
          const text = unpack(this.#data.subarray(0, this.#length));
          if (text === undefined) received.push({ kind: "bad", why: "a wrong run length" });
          else if (!this.#notification) received.push({ kind: "packet", text });
        }
      }
    }
    return received;
  }

  #keep(byte: number): boolean {
    if (this.#length === PACKET_LIMIT) return false;
    if (this.#length === this.#data.length) {
      const larger = new Uint8Array(this.#data.length * 4);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#data[this.#length++] = byte;
    this.#sum += byte;
    return true;
  }
}

/** Undoes escapes and run lengths; undefined if it is malformed, or grows beyond the limit. */
function unpack(data: Uint8Array): string | undefined {
  if (!data.includes(STAR) && !data.includes(ESCAPE)) return decoder.decode(data);
  const bytes: number[] = [];
  for (let i = 0; i < data.length; i++) {
    if (data[i] === ESCAPE) {
      if (++i === data.length) return undefined;
      bytes.push(data[i] ^ 0x20);
    } else if (data[i] === STAR) {
      const count = data[++i] - 29;
      const last = bytes.at(-1);
      if (last === undefined || !(count >= 3 && count <= 97) || bytes.length + count > PACKET_LIMIT) {
        return undefined;
      }
      for (let n = 0; n < count; n++) bytes.push(last);
    } else bytes.push(data[i]);
  }
  return decoder.decode(Uint8Array.from(bytes));
}

/** The value of a hex digit; a number beyond a byte for anything else, so that no checksum matches it. */
function digit(byte: number): number {
  const value = parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(value) ? 0x1000 : value;
}

/** Bytes as hex digits. */
export function toHex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Hex digits as bytes; undefined if they are none. */
export function fromHex(text: string): Uint8Array | undefined {
  try {
    return Uint8Array.fromHex(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}
