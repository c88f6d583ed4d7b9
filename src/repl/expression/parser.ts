import type { RegisterPart, Scalar } from "./value.ts";
import { ExpressionError, type Token, tokenize } from "./lexer.ts";
import { registerPart } from "./registers.ts";

/** A parsed expression; `at` is where its operator or name stands in the source. */
export type Node =
  & { readonly at: number }
  & (
    | { readonly kind: "number"; readonly value: bigint }
    | { readonly kind: "register"; readonly name: string; readonly part: RegisterPart }
    | { readonly kind: "variable"; readonly name: string }
    | { readonly kind: "name"; readonly name: string }
    | { readonly kind: "segmented"; readonly segment: Node; readonly offset: Node }
    | { readonly kind: "unary"; readonly operator: "-" | "+" | "~" | "!" | "&"; readonly operand: Node }
    | { readonly kind: "binary"; readonly operator: string; readonly left: Node; readonly right: Node }
    | { readonly kind: "choice"; readonly condition: Node; readonly yes: Node; readonly no: Node }
    | { readonly kind: "read"; readonly type: Scalar | undefined; readonly operand: Node }
    | { readonly kind: "cast"; readonly type: Scalar; readonly pointer: boolean; readonly operand: Node }
    | { readonly kind: "call"; readonly name: "phys" | "mfn" | "linear" | "msr"; readonly operand: Node }
    | { readonly kind: "size"; readonly operand: Node }
  );

const PRECEDENCE: Readonly<Record<string, number>> = {
  "||": 1,
  "&&": 2,
  "|": 3,
  "^": 4,
  "&": 5,
  "==": 6,
  "!=": 6,
  "<": 7,
  "<=": 7,
  ">": 7,
  ">=": 7,
  "<<": 8,
  ">>": 8,
  "+": 9,
  "-": 9,
  "*": 10,
  "/": 10,
  "%": 10,
};

const scalar = (bytes: 1 | 2 | 4 | 8, signed: boolean): Scalar => ({ bytes, signed });

/** Type names of C, of <stdint.h>, of Rust and of assemblers. */
const TYPES = new Map<string, Scalar>([
  ...["u8", "uint8_t", "unsigned char", "uchar", "byte"].map((n) => [n, scalar(1, false)] as const),
  ...["u16", "uint16_t", "unsigned short", "ushort", "word"].map((n) => [n, scalar(2, false)] as const),
  ...["u32", "uint32_t", "unsigned int", "unsigned", "uint", "dword"].map((n) =>
    [n, scalar(4, false)] as const
  ),
  ...["u64", "uint64_t", "unsigned long", "ulong", "qword", "size_t", "uintptr_t"].map((n) =>
    [n, scalar(8, false)] as const
  ),
  ...["i8", "s8", "int8_t", "char", "signed char"].map((n) => [n, scalar(1, true)] as const),
  ...["i16", "s16", "int16_t", "short"].map((n) => [n, scalar(2, true)] as const),
  ...["i32", "s32", "int32_t", "int"].map((n) => [n, scalar(4, true)] as const),
  ...["i64", "s64", "int64_t", "long", "long long", "intptr_t"].map((n) => [n, scalar(8, true)] as const),
]);

/** Calls: `gpa` and `gva` are the library's names for the same. */
const CALLS = new Map<string, "phys" | "mfn" | "linear" | "msr">([
  ["phys", "phys"],
  ["gpa", "phys"],
  ["mfn", "mfn"],
  ["linear", "linear"],
  ["gva", "linear"],
  ["msr", "msr"],
]);

/** Nesting that nobody writes by hand; bounds the recursion. */
const DEEPEST = 200;

/**
 * Parses one expression.
 *
 * @throws {ExpressionError} With the place that made no sense.
 */
export function parse(source: string): Node {
  const parser = new Parser(source);
  const node = parser.expression();
  parser.finish();
  return node;
}

/**
 * Parses as much as is an expression and tells where it ended: `b start if $rax == 1` has a tail.
 *
 * @throws {ExpressionError} If it does not begin with an expression.
 */
export function parsePrefix(source: string): { node: Node; end: number } {
  const parser = new Parser(source, true);
  const node = parser.expression();
  return { node, end: parser.position };
}

/**
 * Parses `TARGET = EXPRESSION`, or a plain expression.
 *
 * @throws {ExpressionError} With the place that made no sense.
 */
export function parseAssignment(source: string): { target?: Node; value: Node } {
  const parser = new Parser(source);
  const first = parser.expression();
  const operator = parser.takesAssignment();
  if (operator === undefined) {
    parser.finish();
    return { value: first };
  }
  if (
    first.kind !== "register" && first.kind !== "read" && first.kind !== "variable" &&
    first.kind !== "call" &&
    first.kind !== "name"
  ) {
    throw new ExpressionError("Only a register, memory or a variable can be set", source, first.at, {
      remedy: "examples: $rax = 1, {u32}0x1000 = 5, $mine = 7",
    });
  }
  const given = parser.expression();
  parser.finish();
  // `$rax += 1` is `$rax = $rax + 1`.
  const value = operator === ""
    ? given
    : { kind: "binary" as const, operator, left: first, right: given, at: given.at };
  return { target: first, value };
}

/** The type a name means, if any. */
export function typeNamed(name: string): Scalar | undefined {
  return TYPES.get(name.trim().replace(/\s+/g, " "));
}

class Parser {
  readonly #source: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;

  constructor(source: string, prefix = false) {
    this.#source = source;
    this.#tokens = tokenize(source, prefix);
  }

  /** Where the first token that was not taken begins. */
  get position(): number {
    return this.#peek().at;
  }

  takes(operator: string): boolean {
    const token = this.#peek();
    if (token.kind !== "operator" || token.name !== operator) return false;
    this.#next++;
    return true;
  }

  /** The operator before the `=` of an assignment, "" for a plain one; undefined if none follows. */
  takesAssignment(): string | undefined {
    if (this.takes("=")) return "";
    const token = this.#peek();
    if (token.kind !== "operator" || !/^(?:<<|>>|[-+*\/%&|^])=$/.test(token.name)) return undefined;
    this.#next++;
    return token.name.slice(0, -1);
  }

  finish(): void {
    const token = this.#peek();
    if (token.kind === "end") return;
    throw this.#error(`${this.#source.slice(token.at, token.end)} does not belong here`, token.at);
  }

  /** `a ? b : c`, which binds least and to the right, or what is within it. */
  expression(): Node {
    const condition = this.#operators(0);
    const at = this.position;
    if (!this.takes("?")) return condition;
    if (++this.#depth > DEEPEST) throw this.#error("This is nested too deeply", at);
    const yes = this.expression();
    if (!this.takes("?:")) throw this.#error("A : is missing after the ?", this.position);
    const no = this.expression();
    this.#depth--;
    return { kind: "choice", condition, yes, no, at };
  }

  /** Precedence climbing. */
  #operators(least: number): Node {
    if (++this.#depth > DEEPEST) throw this.#error("This is nested too deeply", this.position);
    let left = this.#unary();
    while (true) {
      const token = this.#peek();
      const precedence = token.kind === "operator" ? PRECEDENCE[token.name] : undefined;
      if (token.kind !== "operator" || precedence === undefined || precedence <= least) break;
      this.#next++;
      left = { kind: "binary", operator: token.name, left, right: this.#operators(precedence), at: token.at };
    }
    this.#depth--;
    return left;
  }

  #unary(): Node {
    const token = this.#peek();
    if (token.kind !== "operator") return this.#primary();
    if (++this.#depth > DEEPEST) throw this.#error("This is nested too deeply", token.at);
    try {
      switch (token.name) {
        case "-":
        case "+":
        case "~":
        case "!":
        case "&":
          this.#next++;
          return { kind: "unary", operator: token.name, operand: this.#unary(), at: token.at };
        case "*":
          this.#next++;
          return { kind: "read", type: undefined, operand: this.#unary(), at: token.at };
        case "{": {
          this.#next++;
          const type = this.#type(token.at);
          if (!this.takes("}")) throw this.#error("A } is missing after the type", this.position);
          return { kind: "read", type, operand: this.#unary(), at: token.at };
        }
        case "(":
          return this.#cast() ?? this.#primary();
        default:
          return this.#primary();
      }
    } finally {
      this.#depth--;
    }
  }

  /** `(u32)` or `(u32*)` and what follows, or undefined if the parenthesis holds an expression. */
  #cast(): Node | undefined {
    const start = this.#next;
    const at = this.position;
    this.#next++;
    if (this.#peek().kind === "name") {
      const type = typeNamed(this.#words());
      const pointer = type !== undefined && this.takes("*");
      if (type && this.takes(")")) return { kind: "cast", type, pointer, operand: this.#unary(), at };
    }
    this.#next = start;
    return undefined;
  }

  #type(at: number): Scalar {
    const words = this.#words();
    const type = typeNamed(words);
    if (type) return type;
    throw this.#error(
      `${words || "This"} is not a type`,
      at,
      "types: u8 u16 u32 u64, i8 i16 i32 i64, char short int long",
    );
  }

  #primary(): Node {
    const node = this.#atom();
    const colon = this.#peek();
    if (!this.takes(":")) return node;
    return { kind: "segmented", segment: node, offset: this.#atom(), at: colon.at };
  }

  #atom(): Node {
    const token = this.#peek();
    this.#next++;
    switch (token.kind) {
      case "number":
        return { kind: "number", value: token.value, at: token.at };
      case "dollar": {
        const part = registerPart(token.name);
        return part
          ? { kind: "register", name: token.name.toLowerCase(), part, at: token.at }
          : { kind: "variable", name: token.name, at: token.at };
      }
      case "name": {
        if (token.name === "sizeof") return this.#size(token.at);
        const call = CALLS.get(token.name);
        if (call && this.takes("(")) {
          const operand = this.expression();
          this.#close();
          return { kind: "call", name: call, operand, at: token.at };
        }
        return { kind: "name", name: token.name, at: token.at };
      }
      case "operator":
        if (token.name === "(") {
          const inner = this.expression();
          this.#close();
          return inner;
        }
        throw this.#error(`A value is missing before ${token.name}`, token.at);
      case "end":
        throw this.#error(
          this.#source.trim() === "" ? "An expression is missing" : "The expression ends too early",
          token.at,
        );
    }
  }

  /** `sizeof (u32)`, `sizeof(u32*)`, `sizeof $eax`: a type's size is a number, a value's is known when it is. */
  #size(at: number): Node {
    const start = this.#next;
    if (this.takes("(")) {
      const words = this.#words();
      const type = typeNamed(words);
      const pointer = type !== undefined && this.takes("*");
      if (type && this.takes(")")) {
        // Addresses are linear here, of 8 bytes in every mode.
        return { kind: "number", value: pointer ? 8n : BigInt(type.bytes), at };
      }
      this.#next = start;
    }
    return { kind: "size", operand: this.#unary(), at };
  }

  /** Names in a row, as types have them. */
  #words(): string {
    const words: string[] = [];
    for (let token = this.#peek(); token.kind === "name"; token = this.#peek()) {
      words.push(token.name);
      this.#next++;
    }
    return words.join(" ");
  }

  #close(): void {
    if (!this.takes(")")) throw this.#error("A ) is missing", this.position);
  }

  #peek(): Token {
    return this.#tokens[Math.min(this.#next, this.#tokens.length - 1)];
  }

  #error(message: string, at: number, remedy?: string): ExpressionError {
    return new ExpressionError(message, this.#source, at, remedy === undefined ? {} : { remedy });
  }
}
