/**
 * Errors that a script lets go. Deno prints their message and where they were thrown, but none of their properties:
 * the remedy is said just before, on stderr.
 */

/** Causes that are looked behind: a chain may be a ring. */
const DEEPEST = 8;

/** What to do about an error or about what caused it; undefined if none of them says. */
function remedyOf(thrown: unknown): string | undefined {
  for (
    let error = thrown, depth = 0;
    error instanceof Error && depth < DEEPEST;
    error = error.cause, depth++
  ) {
    if ("remedy" in error && typeof error.remedy === "string") return error.remedy;
  }
  return undefined;
}

function tell(event: Event, thrown: unknown): void {
  if (event.defaultPrevented) return; // somebody deals with it, as the shell does
  const remedy = remedyOf(thrown);
  if (remedy !== undefined) console.error(`hvsh: what to do about the error below: ${remedy}`);
}

/** Has the remedies of errors that nobody catches printed, from now on. */
export function tellRemedies(): void {
  globalThis.addEventListener("unhandledrejection", (event) => tell(event, event.reason));
  globalThis.addEventListener("error", (event) => tell(event, event.error));
}
