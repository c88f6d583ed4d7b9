/** A file that a guest prints into. */
import { InputError } from "../vm/errors.ts";

/** Bytes of one file: a guest can print for ever. */
const FILE_LIMIT = 1 << 30;

/** Takes bytes one by one, in a buffer that is written when it is full, after a line feed, and at the end. */
export class PrintFile {
  readonly #path: string;
  readonly #limit: number;
  readonly #buffer = new Uint8Array(4096);
  #file: Deno.FsFile | undefined;
  #at = 0;
  #written = 0;

  /**
   * Makes the file, or empties the one that is there.
   *
   * @throws {InputError} If it can't be made.
   */
  constructor(path: string, limit = FILE_LIMIT) {
    this.#path = path;
    this.#limit = limit;
    try {
      Deno.writeFileSync(path, new Uint8Array());
    } catch (cause) {
      throw new InputError(`${path} can't be written`, { cause, remedy: "choose another file to print to" });
    }
  }

  /** Takes a byte; gives a reason if it can't. */
  print(byte: number): string | undefined {
    if (this.#written + this.#at >= this.#limit) return `${this.#path} has ${this.#limit} bytes`;
    this.#buffer[this.#at++] = byte;
    return byte === 0x0a || this.#at === this.#buffer.length ? this.#flush() : undefined;
  }

  /** Writes what is left. A byte that comes later opens the file again, and goes behind it. */
  close(): void {
    this.#flush();
    this.#file?.close();
    this.#file = undefined;
  }

  #flush(): string | undefined {
    const bytes = this.#buffer.subarray(0, this.#at);
    this.#at = 0;
    if (bytes.length === 0) return undefined;
    try {
      this.#file ??= Deno.openSync(this.#path, { append: true });
      for (let done = 0; done < bytes.length;) done += this.#file.writeSync(bytes.subarray(done));
      this.#written += bytes.length;
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}
