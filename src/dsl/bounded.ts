/**
 * Devices and stores that run nothing but hvsh's own code, whose every call ends: while a guest has no others, and no
 * closures either, its run needs no time limit over it (src/debug/guard.ts), which costs a thread for each burst.
 */

const BOUNDED = new WeakSet<object>();

/** Notes that every call of `part` ends. */
export function bounded<T extends object>(part: T): T {
  BOUNDED.add(part);
  return part;
}

/** Whether that was noted of `part`. */
export function isBounded(part: object): boolean {
  return BOUNDED.has(part);
}

/** Whether options hold nothing that could be called. */
export function isPlain(options: object): boolean {
  return Object.values(options).every((value: unknown) =>
    typeof value !== "function" &&
    (typeof value !== "object" || value === null || value instanceof Uint8Array ||
      Object.getPrototypeOf(value) === Object.prototype && isPlain(value))
  );
}
