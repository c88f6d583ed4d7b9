import type { Script } from "node:vm";
import { builtin } from "../vm/builtin.ts";

/** How long user code may hold the main thread, unless told otherwise; in milliseconds. */
let limitByDefault = 2_000;

const SLOT = Symbol.for("hvsh.guarded");

/**
 * From now on, in the whole process, what is guarded without a limit of its own may take this long: a device waits for
 * another program there, and the thread with it. Two seconds are for a loop; a busy host is slower than that.
 *
 * @param ms Milliseconds; less than the limit there is changes nothing.
 */
export function allowWaiting(ms: number): void {
  limitByDefault = Math.max(limitByDefault, ms);
}

/** What is to run, and runs: kept here, since the global object is slow to look things up in. */
let running: (() => unknown) | undefined;
/** The limit that holds for what runs. */
let runningMs = Infinity;
const run = () => running!();

let compiled: Script | undefined;

/** node:vm takes 20 ms to load, which a guest that never runs shall not pay for. */
function script(): Script {
  return compiled ??= new (builtin("node:vm").Script)(`globalThis[Symbol.for("hvsh.guarded")]()`);
}

/**
 * Runs `body` so that it is ended if it holds the thread for longer than `limitMs`: a condition or a device with
 * an endless loop. node:vm stops foreign closures too. One call costs about 10 us, so that whole bursts are run
 * under it, not single callbacks; a burst itself never lasts longer than a time slice. Inside another `guarded`
 * with the same or a shorter limit it only calls `body`.
 *
 * @param limitMs Milliseconds; if left out two seconds, or what `allowWaiting` says.
 * @throws {Error} With code ERR_SCRIPT_EXECUTION_TIMEOUT.
 */
export function guarded<T>(body: () => T, limitMs = limitByDefault): T {
  if (runningMs <= limitMs) return body();
  const outer = running;
  const outerMs = runningMs;
  running = body;
  runningMs = limitMs;
  // Set each time: another copy of this module may have put its own there.
  Reflect.set(globalThis, SLOT, run);
  try {
    return script().runInThisContext({ timeout: limitMs }) as T;
  } finally {
    running = outer;
    runningMs = outerMs;
  }
}

/** Whether `error` says that `guarded` ended its body. */
export function isRunaway(error: unknown): boolean {
  return (error as { code?: string } | undefined)?.code === "ERR_SCRIPT_EXECUTION_TIMEOUT";
}
