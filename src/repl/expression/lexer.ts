import { InputError } from "../../dsl/nouns.ts";

/** A piece of an expression and where it begins. */
export type Token =
  | { readonly kind: "number"; readonly value: bigint; readonly at: number; readonly end: number }
  /** `$name`, `$1`, `$`; without the dollar sign. */
  | { readonly kind: "dollar"; readonly name: string; readonly at: number; readonly end: number }
  | { readonly kind: "name"; readonly name: string; readonly at: number; readonly end: number }
  | { readonly kind: "operator"; readonly name: string; readonly at: number; readonly end: number }
  | { readonly kind: "end"; readonly at: number; readonly end: number };

/** An expression that makes no sense: the message shows it with a caret below the place. */
export class ExpressionError extends InputError {
  override name = "ExpressionError";
  /** The expression. */
  readonly source: string;
  /** Characters from its start. */
  readonly at: number;
  constructor(
    message: string,
    source: string,
    at: number,
    options: { cause?: unknown; remedy?: string } = {},
  ) {
    super(`${message}\n  ${source}\n  ${" ".repeat(at)}^`, options);
    this.source = source;
    this.at = at;
  }
}

const UNITS: Readonly<Record<string, bigint>> = { k: 10n, m: 20n, g: 30n, t: 40n };
/** In a place of its own `?` begins a choice; where a value is wanted it begins a name, as MSVC mangles them. */
const OPERATORS = /^(?:<<=|>>=|[-+*/%&|^]=(?!=)|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^~!<>()=:{},?])/;
/** More than any person types; keeps the parser's recursion small. */
const LONGEST = 4096;

/**
 * Cuts an expression into tokens.
 *
 * Numbers: `0x7c00`, `0b101`, `0o17`, `31744`, `7c00h`, with `_` between digits, an `n` at the end as TypeScript
 * has it, or a unit (`64K`, `1MiB`). On both sides of a colon digits are hexadecimal: `f000:fff0`; the colon of
 * `a ? b : c` is the operator `?:`, before which a segmented address wants parentheses.
 *
 * @param prefix Whether what is no expression may follow: the tokens then end there.
 * @throws {ExpressionError} For a character or number that fits nowhere.
 */
export function tokenize(source: string, prefix = false): Token[] {
  if (source.length > LONGEST) throw new InputError(`An expression has at most ${LONGEST} characters`);
  const tokens: Token[] = [];
  /** Choices without their colon yet, by depth of parentheses. */
  const choices = [0];
  let at = 0;
  while (true) {
    while (/\s/.test(source[at] ?? "")) at++;
    if (at >= source.length) break;
    let token: Token;
    try {
      token = next(source, at, tokens.at(-1), choices[choices.length - 1] > 0);
    } catch (error) {
      if (prefix && tokens.length > 0 && error instanceof ExpressionError) break;
      throw error;
    }
    if (token.kind === "operator") {
      if (token.name === "(") choices.push(0);
      else if (token.name === ")" && choices.length > 1) choices.pop();
      else if (token.name === "?") choices[choices.length - 1]++;
      else if (token.name === "?:") choices[choices.length - 1]--;
    }
    tokens.push(token);
    at = token.end;
  }
  tokens.push({ kind: "end", at, end: at });
  return tokens;
}

function next(source: string, at: number, last: Token | undefined, choosing: boolean): Token {
  const rest = source.slice(at);
  const afterValue = last !== undefined && (last.kind !== "operator" || last.name === ")");
  if (rest[0] === "?" && afterValue) return { kind: "operator", name: "?", at, end: at + 1 };
  if (rest[0] === ":" && choosing) return { kind: "operator", name: "?:", at, end: at + 1 };
  const hex = last?.kind === "operator" && last.name === ":"
    ? /^(?:0x)?([0-9a-f]{1,8})(?![\w$.])/i.exec(rest)
    : choosing
    ? null
    : /^(?:0x)?([0-9a-f]{1,4})(?=\s*:)/i.exec(rest);
  if (hex) return { kind: "number", value: BigInt(`0x${hex[1]}`), at, end: at + hex[0].length };
  if (/^[0-9]/.test(rest)) return number(source, at, rest);
  const dollar = /^\$(\$\w*|\w*)/.exec(rest);
  if (dollar) return { kind: "dollar", name: dollar[1], at, end: at + dollar[0].length };
  const name = /^(?:\?[\w.$@?]+|[A-Za-z_.][\w.$@]*)/.exec(rest);
  if (name) return { kind: "name", name: name[0], at, end: at + name[0].length };
  const quoted = /^'([^']+)'/.exec(rest);
  if (quoted) return quote(quoted[1], at, at + quoted[0].length);
  const operator = OPERATORS.exec(rest);
  if (operator) return { kind: "operator", name: operator[0], at, end: at + operator[0].length };
  if (rest[0] === '"') {
    throw new ExpressionError("A text is no number", source, at, {
      remedy: "a text alone is TypeScript; printf takes texts for %s",
    });
  }
  throw new ExpressionError(`${JSON.stringify(rest[0])} has no meaning in an expression`, source, at);
}

/** One character in single quotes is its code, more are a symbol's name, as in gdb. */
function quote(text: string, at: number, end: number): Token {
  if ([...text].length === 1) return { kind: "number", value: BigInt(text.codePointAt(0) ?? 0), at, end };
  return { kind: "name", name: text, at, end };
}

function number(source: string, at: number, rest: string): Token {
  const word = /^\w+/.exec(rest)?.[0] ?? "";
  const digits = word.replaceAll("_", "");
  const end = at + word.length;
  const give = (value: bigint): Token => ({ kind: "number", value, at, end });
  let found: RegExpExecArray | null;
  if (/^0x[0-9a-f]+n?$/i.test(digits)) return give(BigInt(digits.replace(/n$/i, "")));
  if ((found = /^([0-9][0-9a-f]*)h$/i.exec(digits))) return give(BigInt(`0x${found[1]}`));
  if (/^(0b[01]+|0o[0-7]+)n?$/i.test(digits)) return give(BigInt(digits.replace(/n$/, "").toLowerCase()));
  if ((found = /^([0-9]+)(?:([kmgt])(?:i?b)?|n)?$/i.exec(digits))) {
    if (/^0[0-9]/.test(digits)) {
      throw new ExpressionError(`${word} may be octal or decimal`, source, at, {
        remedy: `write 0o${digits.replace(/^0+/, "")} or ${digits.replace(/^0+(?=.)/, "")}`,
      });
    }
    return give(BigInt(found[1]) << (found[2] ? UNITS[found[2].toLowerCase()] : 0n));
  }
  throw new ExpressionError(`${word} is not a number`, source, at, {
    remedy: /^[0-9a-f]+$/i.test(digits)
      ? `hexadecimal is 0x${digits} or ${digits}h`
      : "examples: 0x7c00, 31744, 7c00h",
  });
}
