/**
 * What the host and the agent in a lab say to each other, over pairs of virtio-serial ports: `inN` carries lines of
 * JSON to the agent, `outN` carries lines of JSON from it, a line of kind "data" being followed by that many raw bytes.
 *
 * A virtio-serial port does not say when one client leaves and the next comes, and either may leave in mid-line.
 * So a client starts with a newline, which ends whatever stood before it, and a hello with a nonce; what comes before
 * the agent's hello with the same nonce is an earlier client's.
 */

/** Pairs of ports in a lab, and so commands that can run in it at once. */
export const CHANNELS = 4;

/** Bytes of standard input that may be on the way before the agent has said it took them. */
export const STDIN_WINDOW = 256 * 1024;

/** The longest line either side accepts, in bytes; a longer one is a fault of the other side. */
export const LINE_LIMIT = 1024 * 1024;

/** A terminal's size in characters. */
export interface TerminalSize {
  columns: number;
  rows: number;
}

/** A command to run in the lab as root. */
export interface RunRequest {
  /** Program and arguments; the program is looked up in `env.PATH`. */
  argv: string[];
  /** An absolute folder inside the lab. */
  cwd: string;
  /** The whole environment. */
  env: Record<string, string>;
  /** Whether `stdin` messages will come; otherwise the command reads from /dev/null. */
  stdin: boolean;
  /** Run it on a terminal of this size. */
  terminal?: TerminalSize;
}

/** Host to agent. */
export type ToAgent =
  | { kind: "hello"; nonce: string }
  | { kind: "run"; run: RunRequest }
  /** Standard input, base64. */
  | { kind: "stdin"; data: string }
  | { kind: "stdin-end" }
  /** To the command's process group. */
  | { kind: "signal"; name: Deno.Signal }
  | { kind: "resize"; size: TerminalSize }
  /** Write everything to the shares, then answer "synced". */
  | { kind: "sync" };

/** Agent to host. */
export type FromAgent =
  | { kind: "hello"; nonce: string }
  | { kind: "started"; pid: number }
  /** Followed by `bytes` bytes. */
  | { kind: "data"; stream: "stdout" | "stderr"; bytes: number }
  /** So many bytes of standard input have reached the command. */
  | { kind: "taken"; bytes: number }
  /** The last message of a command; `code` is 128 + n after signal n. */
  | { kind: "exit"; code: number; signal: string | null }
  /** The command could not be started; `code` as a shell gives it: 127 not found, 126 not executable. */
  | { kind: "refused"; code: number; message: string }
  | { kind: "synced" };

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A message as the line it travels in. */
export function encodeLine(message: ToAgent | FromAgent): Uint8Array<ArrayBuffer> {
  return encoder.encode(JSON.stringify(message) + "\n");
}

/** Takes lines, and runs of raw bytes, off a stream of bytes that comes in pieces of any size. */
export class LineReader {
  #buffer: Uint8Array = new Uint8Array(0);
  readonly #read: () => Promise<Uint8Array | null>;

  /** @param read Gives the next piece, or null when the other side is gone. */
  constructor(read: () => Promise<Uint8Array | null>) {
    this.#read = read;
  }

  /**
   * The next line without its newline, or null at the end.
   *
   * @throws {RangeError} If a line is longer than {@linkcode LINE_LIMIT}.
   */
  async line(): Promise<string | null> {
    let searched = 0;
    while (true) {
      const end = this.#buffer.indexOf(10, searched);
      if (end >= 0) {
        const line = decoder.decode(this.#buffer.subarray(0, end));
        this.#buffer = this.#buffer.subarray(end + 1);
        return line;
      }
      searched = this.#buffer.length;
      if (searched > LINE_LIMIT) throw new RangeError(`A line is longer than ${LINE_LIMIT} bytes.`);
      if (!(await this.#more())) return null;
    }
  }

  /** Gives the next `count` bytes in pieces to `sink`; false when the other side left before they were there. */
  async bytes(count: number, sink: (piece: Uint8Array) => void | Promise<void>): Promise<boolean> {
    while (count > 0) {
      if (this.#buffer.length === 0 && !(await this.#more())) return false;
      const piece = this.#buffer.subarray(0, count);
      this.#buffer = this.#buffer.subarray(piece.length);
      count -= piece.length;
      await sink(piece);
    }
    return true;
  }

  /** Forgets what has been read: a new client is there. */
  clear(): void {
    this.#buffer = new Uint8Array(0);
  }

  async #more(): Promise<boolean> {
    const piece = await this.#read();
    if (piece === null) return false;
    if (this.#buffer.length === 0) {
      this.#buffer = piece;
      return true;
    }
    const joined = new Uint8Array(this.#buffer.length + piece.length);
    joined.set(this.#buffer);
    joined.set(piece, this.#buffer.length);
    this.#buffer = joined;
    return true;
  }
}
