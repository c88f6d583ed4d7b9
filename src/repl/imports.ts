/**
 * Makes `import` work at a prompt: static imports become `await` expressions, and both static and dynamic ones
 * go through a hook that resolves their specifiers against the current directory or the script's file.
 *
 * This has to come before types are stripped, which would delete imports that the same line does not use.
 */

/** How evaluated code calls the hook, a function of specifier and import attributes. */
export const IMPORT_HOOK = `globalThis[Symbol.for("hvsh.import")]`;

/** Comments, strings and templates, in which `import` is just text. */
const SKIPPED =
  /\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)|"(?:[^"\\\n]|\\[^])*(?:"|\n|$)|'(?:[^'\\\n]|\\[^])*(?:'|\n|$)|`(?:[^`\\]|\\[^])*(?:`|$)/y;

const DYNAMIC = /import(?=\s*\()/y;

const STATIC =
  /import(?:\s+type(?=\s+[^,\s]))?(?:\s*([\w$*{][^"'`;()=]*?)\s*from)?\s*("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')(?:\s*with\s*(\{[^{}]*\}))?[ \t]*;?/y;

/** `{a, b as c, type T}` as a destructuring pattern; undefined if only types are in it. */
function pattern(named: string, extra: readonly string[]): string | undefined {
  const members = [...extra];
  for (const member of named.split(",")) {
    const words = member.trim().split(/\s+/);
    if (words[0] === "" || (words[0] === "type" && words.length > 1 && words[1] !== "as")) continue;
    members.push(words[1] === "as" ? `${words[0]}: ${words[2]}` : words[0]);
  }
  return members.length === 0 ? undefined : `{ ${members.join(", ")} }`;
}

/** One static import as statements. */
function asStatements(clause: string | undefined, specifier: string, attributes: string | undefined): string {
  const call = `await ${IMPORT_HOOK}(${specifier}${
    attributes === undefined ? "" : `, { with: ${attributes} }`
  })`;
  if (clause === undefined) return `${call};`;
  const match = /^([\w$]+)?\s*,?\s*(?:\*\s*as\s+([\w$]+)|\{([^]*)\})?$/.exec(clause.trim());
  if (!match) return `${call};`;
  const [, whole, namespace, named] = match;
  const members = whole === undefined ? [] : [`default: ${whole}`];
  if (namespace !== undefined) {
    const rest = members.length === 0 ? "" : ` const { ${members[0]} } = ${namespace};`;
    return `const ${namespace} = ${call};${rest}`;
  }
  const target = pattern(named ?? "", members);
  return target === undefined ? "" : `const ${target} = ${call};`;
}

/** Whether an `import` at `at` can begin a statement: only blanks, `;` or `}` stand before it on its line. */
function beginsStatement(source: string, at: number): boolean {
  for (let i = at - 1; i >= 0; i--) {
    const c = source[i];
    if (c === "\n" || c === ";" || c === "}" || c === "/") return true;
    if (c !== " " && c !== "\t" && c !== "\r") return false;
  }
  return true;
}

/**
 * Rewrites the imports of one input.
 *
 * @param source TypeScript.
 * @returns The same with its imports through the hook; also `export` in front of declarations is gone, since a
 *   prompt has nobody to export to, and pasted code has it.
 */
export function rewriteImports(source: string): string {
  if (!/import|export/.test(source)) return source;
  let out = "";
  let i = 0;
  while (i < source.length) {
    SKIPPED.lastIndex = i;
    const skipped = SKIPPED.exec(source);
    if (skipped && skipped[0] !== "") {
      out += skipped[0];
      i += skipped[0].length;
      continue;
    }
    const before = i === 0 ? "" : source[i - 1];
    if (source.startsWith("import", i) && !/[\w$.#]/.test(before)) {
      DYNAMIC.lastIndex = i;
      STATIC.lastIndex = i;
      const found = DYNAMIC.test(source) ? undefined : STATIC.exec(source);
      if (found === undefined) {
        out += IMPORT_HOOK;
        i += "import".length;
        continue;
      }
      if (found && beginsStatement(source, i)) {
        const typesOnly = /^import\s+type\s/.test(found[0]) &&
          !/^import\s+type\s*(,|from\s*["'])/.test(found[0]);
        // The line breaks stay, so that line numbers in errors are right.
        const breaks = found[0].replace(/[^\n]/g, "");
        out += (typesOnly ? "" : asStatements(found[1], found[2], found[3])) + breaks;
        i += found[0].length;
        continue;
      }
    }
    const exported =
      /^export\s+(?:default\s+)?(?=(?:const|let|var|function|async|class|enum|interface|type|namespace|abstract)\b)/;
    if (source.startsWith("export", i) && !/[\w$.#]/.test(before) && beginsStatement(source, i)) {
      const match = exported.exec(source.slice(i, i + 64));
      if (match) {
        i += match[0].length;
        continue;
      }
    }
    out += source[i++];
  }
  return out;
}
