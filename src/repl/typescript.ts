import type { GuestMachine, OpenOptions } from "../dsl/mod.ts";
import type { Engine } from "./engine.ts";
import type { Scope } from "./scope.ts";

/** What TypeScript at the prompt needs of the shell. */
export interface TypeScriptParts {
  /** Holds the guest and the vCPU that names such as `vm` and `$rip` mean. */
  readonly host: { vm: GuestMachine | undefined; readonly vcpu: number; readonly options: OpenOptions };
  /** What is found by name. */
  library(): Promise<Record<string, unknown>>;
  /** Against what relative imports are resolved. */
  base(): URL;
  /** How long code may run without giving the event loop a turn, in milliseconds. */
  limitMs(): number;
  /** Called before code of the user's runs for the first time, and waited for. */
  guard?(): Promise<void>;
}

/** Engine and scope, once they are there. */
export interface Prepared {
  readonly engine: Engine;
  readonly scope: Scope;
}

/** TypeScript at the prompt: loaded at its first line, since commands do without. */
export class TypeScript {
  #parts: TypeScriptParts;
  #opening: Promise<Prepared> | undefined;
  #ready: Prepared | undefined;

  constructor(parts: TypeScriptParts) {
    this.#parts = parts;
  }

  /** Loads engine and scope, at the first call. */
  open(): Promise<Prepared> {
    return this.#opening ??= this.#open();
  }

  async #open(): Promise<Prepared> {
    const { host } = this.#parts;
    const [{ Engine }, { Scope }, library] = await Promise.all([
      import("./engine.ts"),
      import("./scope.ts"),
      this.#parts.library(),
      this.#parts.guard?.(),
    ]);
    const engine = await Engine.open({
      base: () => this.#parts.base(),
      library: new URL("../../mod.ts", import.meta.url),
      limitMs: () => this.#parts.limitMs(),
    });
    const { open, attach } = library;
    const adopting =
      (make: (...options: unknown[]) => Promise<GuestMachine>) => async (...options: unknown[]) => {
        const vm = await make(...options);
        host.vm = vm;
        return vm;
      };
    const scope = new Scope(host, {
      ...library,
      // Guests that are opened at the prompt are the prompt's: commands speak of the newest.
      ...(isMaker(open) ? { open: (options?: unknown) => adopting(open)(options ?? host.options) } : {}),
      ...(isMaker(attach) ? { attach: adopting(attach) } : {}),
    });
    return this.#ready = { engine, scope };
  }

  /** Whether there is a variable of that name now. */
  hasVariable(name: string): boolean {
    return this.#ready ? this.#ready.engine.hasVariable(name) : name === "vm" || name in globalThis;
  }

  /** Evaluates one input; its value becomes `_`. @throws Whatever the code throws. */
  async evaluate(source: string): Promise<unknown> {
    const { engine, scope } = await this.open();
    await scope.prepare(source);
    const value = await engine.evaluate(source);
    await scope.settle();
    scope.define("_", value);
    return value;
  }

  /** Takes the names off the global object and ends the engine. Idempotent. */
  async close(): Promise<void> {
    const ready = await this.#opening?.catch(() => undefined);
    ready?.scope[Symbol.dispose]();
    ready?.engine[Symbol.dispose]();
    this.#opening = undefined;
    this.#ready = undefined;
  }
}

function isMaker(value: unknown): value is (...options: unknown[]) => Promise<GuestMachine> {
  return typeof value === "function";
}
