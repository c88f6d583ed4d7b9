/** What has to be let go when the program ends without closing it. */

import { signalsAreDealtWith } from "../vm/signals.ts";

/** What ends a program that does not listen for it, and can be listened for. */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

const open = new Set<() => void>();
let listening = false;
let closing = false;
/** Listeners for signals, while something is open. */
let answers: { readonly signal: Deno.Signal; readonly answer: () => void }[] = [];

/** Lets go of everything that is left; one failure does not keep the rest. */
function closeAll(): void {
  closing = true;
  // What closing one adds has its turn, too: a machine may leave its domain to the spares.
  for (const close of open) {
    open.delete(close);
    try {
      close();
    } catch (error) {
      console.error(error);
    }
  }
  closing = false;
  hear();
}

function leave(event: Event): void {
  // Somebody deals with the error, and the program goes on.
  if (!event.defaultPrevented) closeAll();
}

/** Lets go of everything, and lets the signal do then what it does to a program that does not listen. */
function answer(signal: Deno.Signal): void {
  if (signalsAreDealtWith()) return;
  closeAll();
  Deno.kill(Deno.pid, signal);
}

/** Listens for signals while something is open, or is being closed, and no longer: a second Ctrl-C ends nothing by half. */
function hear(): void {
  if (closing) return;
  if (open.size > 0 === answers.length > 0) return;
  if (answers.length > 0) {
    for (const { signal, answer } of answers.splice(0)) Deno.removeSignalListener(signal, answer);
    return;
  }
  answers = SIGNALS.map((signal) => ({ signal, answer: () => answer(signal) }));
  for (const { signal, answer } of answers) Deno.addSignalListener(signal, answer);
}

/**
 * Calls `close` when the program ends by itself, by Deno.exit, by an error that nobody caught, or by a signal that can be
 * caught and that the program does not deal with.
 *
 * @returns Takes it back.
 */
export function closeAtEnd(close: () => void): () => void {
  if (!listening) {
    listening = true;
    for (const event of ["unload", "error", "unhandledrejection"]) globalThis.addEventListener(event, leave);
  }
  open.add(close);
  hear();
  return () => {
    open.delete(close);
    hear();
  };
}
