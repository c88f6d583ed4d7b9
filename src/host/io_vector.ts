/** Bytes here and there that one system call moves: readv(2). */

/** Most pieces of one call (IOV_MAX). */
export const MOST_PIECES = 1024;
/** Words of a struct iovec: `void *iov_base; size_t iov_len`. */
const WORDS = 2;

/** An array of struct iovec, made again for each call. */
export class IoVector {
  #words = new BigUint64Array(WORDS);
  /** The buffer that the last piece lay in, and where that is: pieces of a guest's memory all have one. */
  #buffer: ArrayBufferLike | undefined;
  #base = 0n;

  /** The records of `pieces`, at most `MOST_PIECES`: good until the next call, for as long as the pieces are not let go. */
  of(pieces: readonly Uint8Array[]): BigUint64Array<ArrayBuffer> {
    if (this.#words.length < WORDS * pieces.length) this.#words = new BigUint64Array(WORDS * pieces.length);
    // A buffer may have been made where another one was.
    this.#buffer = undefined;
    for (let i = 0; i < pieces.length; i++) {
      const { buffer, byteOffset, length } = pieces[i];
      this.#words[WORDS * i] = this.#start(buffer) + BigInt(byteOffset);
      this.#words[WORDS * i + 1] = BigInt(length);
    }
    return this.#words;
  }

  #start(buffer: ArrayBufferLike): bigint {
    if (buffer !== this.#buffer) {
      this.#buffer = buffer;
      // SAFETY: only the number is taken; the caller has views of the buffer for as long as the kernel uses it.
      this.#base = Deno.UnsafePointer.value(Deno.UnsafePointer.of(new Uint8Array(buffer as ArrayBuffer)));
    }
    return this.#base;
  }
}
