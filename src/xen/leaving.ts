/** What has to be let go when the program ends without closing it. */

const open = new Set<() => void>();
let listening = false;

/** Lets go of everything that is left; one failure does not keep the rest. */
function leave(event: Event): void {
  // Somebody deals with the error, and the program goes on.
  if (event.defaultPrevented) return;
  // What closing one adds has its turn, too: a machine may leave its domain to the spares.
  for (const close of open) {
    open.delete(close);
    try {
      close();
    } catch (error) {
      console.error(error);
    }
  }
}

/**
 * Calls `close` when the program ends by itself, by Deno.exit or by an error that nobody caught. A signal that kills
 * it is another matter: who wants to survive Ctrl-C listens for it and exits.
 *
 * @returns Takes it back.
 */
export function closeAtEnd(close: () => void): () => void {
  if (!listening) {
    listening = true;
    for (const event of ["unload", "error", "unhandledrejection"]) globalThis.addEventListener(event, leave);
  }
  open.add(close);
  return () => void open.delete(close);
}
