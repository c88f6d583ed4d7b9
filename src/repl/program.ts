/**
 * What a prompt makes of a script: a function whose declarations outlive it.
 *
 * Names that a script declares become variables of the prompt's scope, which are declared beforehand; in the script
 * itself only assignments to them are left. So the script can be called like any function: with `await` in it, with
 * a time limit, and without the inspector in between.
 */
import type * as acorn from "npm:acorn@8.19.0";

/** A script as a function. */
export interface Program {
  /** What it declares. */
  readonly names: readonly string[];
  /** A function expression without parameters, asynchronous if the script awaits; it gives the last statement's value. */
  readonly code: string;
}

/** The parser, which is loaded when it is needed. */
export type Parse = typeof acorn.parse;

/** A piece of the source to be put in place of another. */
interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** Any node: members are looked at by name. */
type AnyNode = acorn.AnyNode;

/**
 * @param source JavaScript, as a script.
 * @throws {SyntaxError} If it is none.
 */
export function program(source: string, parse: Parse): Program {
  const tree = parse(source, {
    ecmaVersion: "latest",
    sourceType: "script",
    allowAwaitOutsideFunction: true,
    allowHashBang: true,
  });
  const rewriter = new Rewriter();
  for (const statement of tree.body) rewriter.statement(statement);
  const last = tree.body.at(-1);
  if (last?.type === "ExpressionStatement") {
    rewriter.replace(last.start, last.expression.start, "return (");
    rewriter.replace(last.expression.end, last.end, ");");
  }
  const body = apply(source, rewriter.edits);
  return { names: [...rewriter.names], code: `${rewriter.awaits ? "async " : ""}() => {${body}\n}` };
}

class Rewriter {
  readonly names = new Set<string>();
  readonly edits: Edit[] = [];
  awaits = false;

  replace(from: number, to: number, text: string): void {
    this.edits.push({ from, to, text });
  }

  /** A statement of the script itself. */
  statement(node: acorn.Statement | acorn.ModuleDeclaration): void {
    if (node.type === "VariableDeclaration") this.#assignments(node);
    else if (node.type === "FunctionDeclaration" || node.type === "ClassDeclaration") this.#named(node);
    this.#walk(node);
  }

  /** `const a = 1, b = 2` becomes `void ((a = 1), (b = 2))`. */
  #assignments({ kind, declarations, start }: acorn.VariableDeclaration): void {
    this.replace(start, declarations[0].start, "void (");
    for (const { id, init, start, end } of declarations) {
      this.#declare(id);
      if (init) {
        this.replace(start, start, "(");
        this.replace(end, end, ")");
      } else if (kind === "var") this.replace(start, end, "0"); // keeps the value it has
      else this.replace(end, end, " = undefined");
    }
    const end = declarations[declarations.length - 1].end;
    this.replace(end, end, ")");
  }

  /** `function f() {}` becomes `void (f = function f() {});`. */
  #named({ id, start, end }: acorn.FunctionDeclaration | acorn.ClassDeclaration): void {
    this.names.add(id.name);
    this.replace(start, start, `void (${id.name} = `);
    this.replace(end, end, ");");
  }

  /** `var` belongs to the script, however deep in blocks it stands. */
  #nestedVar(node: acorn.VariableDeclaration, parent: AnyNode): void {
    if (/^For/.test(parent.type) && "body" in parent && (parent.body as unknown) !== node) {
      for (const { id } of node.declarations) this.#declare(id);
      this.replace(node.start, node.declarations[0].start, "");
      return;
    }
    this.#assignments(node);
  }

  #declare(pattern: acorn.Pattern): void {
    switch (pattern.type) {
      case "Identifier":
        this.names.add(pattern.name);
        break;
      case "ObjectPattern":
        for (const property of pattern.properties) {
          this.#declare(property.type === "RestElement" ? property.argument : property.value);
        }
        break;
      case "ArrayPattern":
        for (const element of pattern.elements) if (element !== null) this.#declare(element);
        break;
      case "AssignmentPattern":
        this.#declare(pattern.left);
        break;
      case "RestElement":
        this.#declare(pattern.argument);
        break;
    }
  }

  /** Finds what awaits, and nested `var`s, outside of functions. */
  #walk(node: AnyNode): void {
    if (node.type === "AwaitExpression" || (node.type === "ForOfStatement" && node.await)) this.awaits = true;
    for (const child of children(node)) {
      if (/Function/.test(child.type)) continue;
      if (child.type === "VariableDeclaration" && child.kind === "var") this.#nestedVar(child, node);
      this.#walk(child);
    }
  }
}

function children(node: AnyNode): AnyNode[] {
  return Object.values(node).flat().filter((value): value is AnyNode =>
    typeof value === "object" && value !== null && typeof (value as { type?: unknown }).type === "string"
  );
}

/** The edits do not overlap; those at one place are made in the order in which they were asked for. */
function apply(source: string, edits: readonly Edit[]): string {
  const sorted = edits.map((edit, order) => ({ ...edit, order })).sort((a, b) =>
    a.from - b.from || a.order - b.order
  );
  let out = "";
  let at = 0;
  for (const { from, to, text } of sorted) {
    out += source.slice(at, from) + text;
    at = Math.max(at, to);
  }
  return out + source.slice(at);
}
