import type { Script } from "node:vm";

const SLOT = Symbol.for("hvsh.limited");

let compiled: Script | undefined;

/**
 * Calls `body` and ends it if it runs for longer than `limitMs` without returning; what it does after its first
 * `await` is not limited. node:vm ends code of any script that way.
 *
 * @param limitMs 0 for no limit.
 * @throws {Error} For which `isRunaway` holds.
 */
export async function limited(body: () => unknown, limitMs: number): Promise<unknown> {
  if (limitMs <= 0) return await body();
  const { Script } = await import("node:vm");
  compiled ??= new Script(`globalThis[Symbol.for("hvsh.limited")]()`);
  Object.defineProperty(globalThis, SLOT, { configurable: true, enumerable: false, value: body });
  let result: unknown;
  try {
    result = compiled.runInThisContext({ timeout: limitMs });
  } finally {
    Reflect.deleteProperty(globalThis, SLOT);
  }
  return await result;
}

/** Whether `error` says that `limited` ended its body. */
export function isRunaway(error: unknown): boolean {
  return (error as { code?: string } | undefined)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT";
}
