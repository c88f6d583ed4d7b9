/** What hvsh takes of Node's modules where it can't wait for an import. */
interface Builtins {
  "node:util": typeof import("node:util");
  "node:vm": typeof import("node:vm");
  "node:worker_threads": typeof import("node:worker_threads");
}

/** A module of Node's, loaded when it is first asked for: each takes milliseconds that most runs need not pay. */
export function builtin<Name extends keyof Builtins>(name: Name): Builtins[Name] {
  // Deno's global `process`, which its types leave out.
  const { getBuiltinModule } = Reflect.get(globalThis, "process") as {
    getBuiltinModule<Name extends keyof Builtins>(name: Name): Builtins[Name];
  };
  return getBuiltinModule(name);
}
