import type { BareAddress } from "../vm/address.ts";
import type { MaybePromise } from "../vm/backend.ts";
import { InputError } from "../vm/errors.ts";
import { breather } from "../vm/promise.ts";

/** The bounds of a search. */
export interface SearchOptions<Address extends bigint> {
  from?: Address | BareAddress;
  /** First address behind the range. */
  to?: Address | BareAddress;
  /** The most places that are given; 1024 by default. */
  limit?: number;
}

const LIMIT = 1024;
const CHUNK = 1 << 20;
/** What is searched natively at once: a few milliseconds' worth. */
const NATIVE_CHUNK = 1n << 25n;
/** After how many places the clock is looked at. */
const PLACES = 64;

/** Finds the first place of a pattern in [from, to), or undefined. */
type Native = (pattern: Uint8Array, from: bigint, to: bigint) => MaybePromise<bigint | undefined>;

/**
 * Finds every place where `pattern` lies wholly in one of `ranges`, lowest first.
 *
 * @param read Fills a buffer from an address of one of the ranges.
 * @param native A faster way to find one place, where the backend has it.
 * @throws {InputError} If the pattern is empty or the bounds make no sense.
 */
export async function findAll(
  pattern: Uint8Array | string,
  ranges: Iterable<{ start: bigint; size: bigint }> | AsyncIterable<{ start: bigint; size: bigint }>,
  bounds: { from: bigint; to: bigint | undefined; limit: number | undefined },
  read: (at: bigint, into: Uint8Array) => MaybePromise<void>,
  native?: Native,
): Promise<bigint[]> {
  const bytes = typeof pattern === "string" ? new TextEncoder().encode(pattern) : pattern;
  const limit = bounds.limit ?? LIMIT;
  if (bytes.length === 0) {
    throw new InputError("a search needs at least one byte to look for", {
      remedy: "give some bytes, or a text",
    });
  }
  if (bounds.to !== undefined && bounds.to < bounds.from) {
    throw new InputError("a search ends before it begins", { remedy: "give a `to` above `from`" });
  }
  const found: bigint[] = [];
  const breathe = breather();
  for await (const { start, size } of ranges) {
    await breathe();
    const from = start > bounds.from ? start : bounds.from;
    const end = start + size;
    const to = bounds.to !== undefined && bounds.to < end ? bounds.to : end;
    if (to - from < BigInt(bytes.length)) continue;
    const places = native === undefined
      ? scan(bytes, from, to, read, breathe)
      : nativeScan(bytes, from, to, native, breathe);
    for await (const place of places) {
      if (found.length >= limit) return found;
      found.push(place);
      if (found.length % PLACES === 0) await breathe();
    }
  }
  return found;
}

/** Chunk by chunk, which overlap by the pattern's length less one. */
async function* nativeScan(
  bytes: Uint8Array,
  from: bigint,
  to: bigint,
  native: Native,
  breathe: () => Promise<void> | undefined,
): AsyncGenerator<bigint> {
  const overlap = BigInt(bytes.length - 1);
  for (let at = from; at < to;) {
    const chunkEnd = at + NATIVE_CHUNK + overlap;
    const end = chunkEnd < to ? chunkEnd : to;
    const place = await native(bytes, at, end);
    if (place !== undefined) {
      yield place;
      at = place + 1n;
    } else if (end === to) return;
    else {
      at = end - overlap;
      await breathe();
    }
  }
}

/** Reads chunk by chunk; chunks overlap by the pattern's length less one. */
async function* scan(
  bytes: Uint8Array,
  from: bigint,
  to: bigint,
  read: (at: bigint, into: Uint8Array) => MaybePromise<void>,
  breathe: () => Promise<void> | undefined,
): AsyncGenerator<bigint> {
  const overlap = bytes.length - 1;
  // Its indexOf is as fast as memmem; it takes 10 ms to load, which only a search shall pay for.
  const { Buffer } = await import("node:buffer");
  const chunk = Buffer.alloc(CHUNK + overlap);
  for (let at = from; at + BigInt(bytes.length) <= to; at += BigInt(CHUNK)) {
    const left = to - at;
    const part = left < BigInt(chunk.length) ? chunk.subarray(0, Number(left)) : chunk;
    await breathe();
    await read(at, part);
    for (let i = part.indexOf(bytes); i >= 0; i = part.indexOf(bytes, i + 1)) yield at + BigInt(i);
  }
}
