import { guarded, isRunaway } from "../dsl/guard.ts";
import { ShellError } from "./error.ts";
import { rewriteImports } from "./imports.ts";
import { Inspector } from "./inspector.ts";
import { tooDeep } from "./nesting.ts";
import { type Parse, program } from "./program.ts";

/** What the engine is made with. */
export interface EngineParts {
  /** Against what relative imports are resolved; asked for at each import. */
  base(): URL;
  /** Where the bare specifier "hvsh" leads. */
  readonly library: URL;
  /** How long code may run without giving the event loop a turn, in milliseconds; asked for at each input. */
  limitMs(): number;
}

const HOOK = Symbol.for("hvsh.import");

/** What signals that came while nothing else had a turn need to be delivered, in milliseconds. */
const SIGNALS_MS = 20;

type StripTypes = (code: string) => string;

/**
 * Evaluates TypeScript in the shell's own process, one input after the other, in one scope.
 *
 * Types are stripped, not checked. What is declared stays; it may be declared again. `await` works anywhere.
 */
export class Engine implements Disposable {
  #inspector: Inspector;
  #strip: StripTypes;
  #parse: Parse;
  #parts: EngineParts;
  #lexical = new Set<string>();

  private constructor(inspector: Inspector, strip: StripTypes, parse: Parse, parts: EngineParts) {
    this.#inspector = inspector;
    this.#strip = strip;
    this.#parse = parse;
    this.#parts = parts;
    Object.defineProperty(globalThis, HOOK, {
      configurable: true,
      enumerable: false,
      value: (specifier: unknown, options?: ImportCallOptions) =>
        import(resolveSpecifier(String(specifier), parts), options),
    });
  }

  /** Loads the inspector, the type stripper and the parser. */
  static async open(parts: EngineParts): Promise<Engine> {
    const [inspector, strip, { parse }] = await Promise.all([
      Inspector.open(),
      loadStripper(),
      import("npm:acorn@8.19.0"),
    ]);
    const engine = new Engine(inspector, strip, parse, parts);
    engine.#lexical = new Set(await inspector.lexicalNames());
    return engine;
  }

  /**
   * Evaluates one input.
   *
   * @returns Its value, as the object it is; a promise that is the value is awaited.
   * @throws Whatever the code throws.
   * @throws {SyntaxError} If it is no TypeScript.
   * @throws {ShellError} If it ran too long without a turn of the event loop.
   */
  async evaluate(source: string): Promise<unknown> {
    const { names, code } = program(transform(source, this.#strip), this.#parse);
    const call = await this.#define(names, code);
    const limit = this.#parts.limitMs();
    try {
      // What it does after its first `await` is not limited.
      return await (limit > 0 ? guarded(call, limit) : call());
    } catch (error) {
      if (!isRunaway(error)) throw error;
      // A Ctrl-C of that time is still to be heard, and is for this code.
      await new Promise((resolve) => setTimeout(resolve, SIGNALS_MS));
      throw new ShellError(
        `Stopped: the code ran ${limit / 1000} s without giving anything else a turn`,
        "Await something in the loop, or raise the limit: `set limit SECONDS` (0: none).",
      );
    }
  }

  /** Declares what is new and compiles: all that the inspector does, and nothing in it waits for anything. */
  async #define(names: readonly string[], code: string): Promise<() => unknown> {
    try {
      await this.#inspector.declare(names.filter((name) => !this.#lexical.has(name)));
      return await this.#inspector.compile(code);
    } finally {
      this.#lexical = new Set(await this.#inspector.lexicalNames());
      await this.#inspector.release();
    }
  }

  /** Whether the prompt's scope has a variable of that name, declared there or global. */
  hasVariable(name: string): boolean {
    return this.#lexical.has(name) || name in globalThis;
  }

  /** Names that the user declared at the prompt. */
  variables(): string[] {
    return [...this.#lexical];
  }

  /** Property names of what `expression` is worth, if that can be found out without a side effect. */
  async members(expression: string): Promise<string[]> {
    const object = await this.#inspector.peek(`Object(${expression})`);
    if (!object) return [];
    try {
      return await this.#inspector.properties(object);
    } finally {
      await this.#inspector.release();
    }
  }

  /** Whether more lines can make `source` whole: it breaks off inside brackets, a template or an expression. */
  isUnfinished(source: string): boolean {
    return isUnfinished(source, this.#strip);
  }

  /** Ends the inspector session; what was declared stays in the process. */
  [Symbol.dispose](): void {
    this.#inspector[Symbol.dispose]();
    Reflect.deleteProperty(globalThis, HOOK);
  }
}

/** Loads node:module's type stripper. */
async function loadStripper(): Promise<StripTypes> {
  const { stripTypeScriptTypes } = await import("node:module");
  return (code) => {
    // Transforming finds what is wrong, and gives enum, namespace and their like code of their own ...
    const transformed = stripTypeScriptTypes(code, { mode: "transform" });
    try {
      // ... and blanks in place of types keep lines and columns in errors right.
      return stripTypeScriptTypes(code, { mode: "strip" });
    } catch {
      return transformed;
    }
  };
}

/** The stripper's messages end with an excerpt and its own place; the place is what says "unfinished". */
const PLACE = /\n\s+at file:\/\/\/stripTypeScriptTypes\.ts:(\d+):(\d+)\s*$/;

function transform(source: string, strip: StripTypes): string {
  if (tooDeep(source)) {
    throw new ShellError("The input is nested too deeply", "Put parts of it into variables or functions.");
  }
  // Braces around the whole are an object, as in every prompt, if that parses.
  const trimmed = source.trim();
  if (/^\{[^]*\}$/.test(trimmed)) {
    try {
      return strip(`(${trimmed})`);
    } catch {
      // It is a block.
    }
  }
  try {
    return strip(rewriteImports(source));
  } catch (error) {
    throw tidySyntaxError(error);
  }
}

/** Some of the stripper's syntax errors are plain Errors whose message says what they are. */
function isSyntaxError(error: unknown): error is Error {
  return error instanceof SyntaxError || (error instanceof Error && PLACE.test(error.message));
}

function tidySyntaxError(error: unknown): unknown {
  if (!isSyntaxError(error)) return error;
  const tidy = new SyntaxError(error.message.replace(PLACE, "").replace(/^SyntaxError: /, ""));
  tidy.stack = "";
  return tidy;
}

function isUnfinished(source: string, strip: StripTypes): boolean {
  if (tooDeep(source)) return false;
  try {
    strip(rewriteImports(source));
    return false;
  } catch (error) {
    if (!isSyntaxError(error)) return false;
    if (/Unterminated template|Unterminated block comment|Unexpected eof|<eof>['"]?\n/.test(error.message)) {
      // "Expected ';' or <eof>" is told of text that has too much, not too little.
      if (!/or <eof>/.test(error.message)) return true;
    }
    const place = PLACE.exec(error.message);
    if (!place || /Unterminated (string|regexp)|or <eof>/.test(error.message)) return false;
    const lines = source.replace(/\s+$/, "").split("\n");
    const line = Number(place[1]);
    return line > lines.length || (line === lines.length && Number(place[2]) > lines[line - 1].length);
  }
}

function resolveSpecifier(specifier: string, parts: EngineParts): string {
  if (specifier === "hvsh") return parts.library.href;
  if (/^\.{0,2}\//.test(specifier)) return new URL(specifier, parts.base()).href;
  return specifier;
}
