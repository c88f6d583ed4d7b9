/** Every way out of the shell: the terminal is restored and guests are closed, in bounded time. */

import { dealWithSignals } from "../dsl/signals.ts";

/** Milliseconds that closing guests may take before the shell leaves without it. */
const CLOSE_LIMIT = 3000;

/** What is put right before the process ends; in the order in which it is done. */
export interface Leaving {
  /** Gives the terminal back; synchronous, since there may be no time for more. */
  restore(): void;
  /** Closes guests. */
  close(): Promise<void>;
}

const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGTERM: 15 } as const;

let leaving = false;

/** Leaves the process; the first call decides the exit code. */
export async function leave(code: number, parts: Leaving): Promise<void> {
  if (leaving) return;
  leaving = true;
  parts.restore();
  const closing = parts.close().catch(() => {});
  // Most guests close at once, and timers take 10 ms to load.
  if (!await settlesAtOnce(closing)) {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, CLOSE_LIMIT));
    await Promise.race([closing, late]);
    clearTimeout(timer);
  }
  Deno.exit(code);
}

/** Turns of the microtask queue that something gets which waits for nothing. */
const AT_ONCE = 64;

/** Whether `promise` settles without a turn of the event loop. */
async function settlesAtOnce(promise: Promise<void>): Promise<boolean> {
  let settled = false;
  void promise.then(() => settled = true);
  for (let i = 0; i < AT_ONCE && !settled; i++) await undefined;
  return settled;
}

/**
 * Makes signals and errors that nobody caught leave or go on in good order.
 *
 * @param interrupt Ctrl-C while no line is typed; false if there was nothing to interrupt.
 * @param failed Tells an error that nobody caught; true if the shell goes on all the same.
 */
export function guardExits(
  parts: Leaving,
  interrupt: () => boolean,
  failed: (error: unknown) => boolean,
): void {
  dealWithSignals();
  for (const signal of ["SIGTERM", "SIGHUP", "SIGQUIT"] as const) {
    Deno.addSignalListener(signal, () => void leave(128 + NUMBERS[signal], parts));
  }
  Deno.addSignalListener("SIGINT", () => {
    if (!interrupt()) void leave(128 + NUMBERS.SIGINT, parts);
  });
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    if (!failed(event.reason)) void leave(1, parts);
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    if (!failed(event.error)) void leave(1, parts);
  });
}
