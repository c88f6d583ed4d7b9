/** Most brackets within each other; people and programs that write code stay far below. */
const BRACKETS = 500;
/** Most `=>` and `<` in one input: each may be within the one before, which brackets do not show. */
const OTHERS = 2000;

/**
 * Whether text may be nested so deeply that a parser that descends runs out of stack, which would end the process.
 * Strings and comments count too: it is a bound, not a parse.
 */
export function tooDeep(source: string): boolean {
  let depth = 0;
  let others = 0;
  for (let i = 0; i < source.length; i++) {
    const c = source[i];
    if (c === "(" || c === "[" || c === "{") {
      if (++depth > BRACKETS) return true;
    } else if (c === ")" || c === "]" || c === "}") depth = Math.max(0, depth - 1);
    else if (c === "<" || (c === "=" && source[i + 1] === ">")) others++;
  }
  return others > OTHERS;
}
