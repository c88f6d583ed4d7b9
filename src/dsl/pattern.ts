/** Patterns that `expect` of a console or a screen looks for. */
import { guarded, isRunaway } from "../debug/guard.ts";
import { show } from "../vm/check.ts";
import { InputError } from "../vm/errors.ts";

/** How long a pattern may hold the thread: some take exponential time. */
const PATTERN_LIMIT_MS = 1_000;

/**
 * A copy of our own with flag g, so that the caller's has no memory, and matching begins at `lastIndex`; a string is
 * looked for as it stands.
 */
export function searching(pattern: RegExp | string): RegExp {
  if (typeof pattern === "string") return new RegExp(escapeRegExp(pattern), "g");
  if (!(pattern instanceof RegExp)) {
    throw new InputError(`a pattern is a RegExp or a string, not ${show(pattern)}`, {
      remedy: "for example expect(/login:/)",
    });
  }
  return new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, "") + "g");
}

/**
 * Looks for it in `text`, from its `lastIndex` on.
 *
 * @throws {InputError} If that takes a second.
 */
export function find(regexp: RegExp, text: string): RegExpMatchArray | undefined {
  try {
    return guarded(() => regexp.exec(text), PATTERN_LIMIT_MS) ?? undefined;
  } catch (error) {
    if (!isRunaway(error)) throw error;
    throw new InputError(
      `the pattern /${regexp.source}/ was looked for in ${text.length} characters for 1 s and was ended`,
      { cause: error, remedy: "take one without nested repetitions: /a+$/ rather than /(a+)+$/" },
    );
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}
