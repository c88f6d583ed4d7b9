/** A debug mode for libraries that write into our buffers: guard bytes around each of them. */

/** Bytes before and behind a buffer that must come back as they were. */
const GUARD = 4096;
const PATTERN = 0xa5;

/** A library wrote where it must not. */
export class GuardError extends Error {
  override readonly name = "GuardError";
}

/** What was looked at since the program began. */
export const guardCounts: { calls: number; buffers: number } = { calls: 0, buffers: 0 };

type Callable = (...args: unknown[]) => unknown;

/**
 * The same functions; each buffer is copied between guard bytes before a call, and back behind it.
 *
 * Not for nonblocking functions, whose buffers are in use when the call has returned: those are left as they are.
 */
export function guardBuffers<F extends object>(functions: F, symbols: Deno.ForeignLibraryInterface): F {
  const guarded: Record<string, unknown> = {};
  for (const [name, definition] of Object.entries(symbols)) {
    const original = (functions as Record<string, unknown>)[name];
    const places = "parameters" in definition && !definition.nonblocking
      ? definition.parameters.flatMap((type: unknown, i: number) => type === "buffer" ? [i] : [])
      : [];
    guarded[name] = places.length === 0 ? original : guard(name, original as Callable, places);
  }
  return guarded as F;
}

function guard(name: string, original: Callable, places: readonly number[]): Callable {
  return (...args) => {
    const copies = places.map((place) => {
      const given = args[place] as ArrayBufferView<ArrayBuffer> | null;
      if (given === null) return undefined;
      const own = new Uint8Array(given.buffer, given.byteOffset, given.byteLength);
      const copy = new Uint8Array(own.length + 2 * GUARD).fill(PATTERN);
      copy.set(own, GUARD);
      args[place] = copy.subarray(GUARD, GUARD + own.length);
      return { place, own, copy };
    });
    const result = original(...args);
    guardCounts.calls++;
    for (const each of copies) {
      if (each === undefined) continue;
      guardCounts.buffers++;
      const { place, own, copy } = each;
      const end = GUARD + own.length;
      const wrong = copy.findIndex((byte, i) => byte !== PATTERN && (i < GUARD || i >= end));
      if (wrong >= 0) {
        throw new GuardError(
          `${name} wrote ${
            wrong < GUARD ? `${GUARD - wrong} bytes before` : `${wrong - end + 1} bytes behind`
          } ` +
            `the ${own.length} bytes of its argument ${place}`,
        );
      }
      own.set(copy.subarray(GUARD, end));
    }
    return result;
  };
}
