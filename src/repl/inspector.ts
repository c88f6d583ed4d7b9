/** The part of the inspector protocol that the shell uses, over an in-process session. */

/** A value on the other side of the protocol: a primitive as text, or an object by id. */
export interface RemoteObject {
  readonly type: string;
  readonly subtype?: string;
  readonly value?: unknown;
  readonly unserializableValue?: string;
  readonly description?: string;
  readonly objectId?: string;
}

/** What an evaluation gives. */
export interface EvaluateResult {
  readonly result: RemoteObject;
  readonly exceptionDetails?: { readonly text: string; readonly exception?: RemoteObject };
}

interface PropertyList {
  readonly result: readonly { readonly name: string }[];
}

/** Names under which remote objects are held, to be let go together. */
const GROUP = "hvsh";

/** The function, on the global object, by which a remote object comes back as the value it is. */
const SLOT = Symbol.for("hvsh.slot");

type Post = (method: string, params: object, done: (error: Error | null, result: unknown) => void) => void;

/** Evaluates in this process's own main context: values that come out are the very objects. */
export class Inspector implements Disposable {
  #session: { connect(): void; disconnect(): void };
  #post: Post;
  #slot: unknown;

  private constructor(session: { connect(): void; disconnect(): void; post: unknown }) {
    this.#session = session;
    this.#post = (session.post as Post).bind(session);
    session.connect();
    Object.defineProperty(globalThis, SLOT, {
      configurable: true,
      enumerable: false,
      value: (value: unknown) => {
        this.#slot = value;
      },
    });
  }

  /** Loads the inspector, which the prompt does without until the first line of TypeScript. */
  static async open(): Promise<Inspector> {
    const { Session } = await import("node:inspector");
    return new Inspector(new Session());
  }

  #call<Result>(method: string, params: object): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#post(method, params, (error, result) => error ? reject(error) : resolve(result as Result));
    });
  }

  /**
   * Declares variables in the prompt's scope, undefined at first. Nothing of the user's runs here: an evaluation of
   * user code that is still pending when the session ends, or whose promise is collected, would take Deno down.
   */
  async declare(names: readonly string[]): Promise<void> {
    if (names.length === 0) return;
    const { exceptionDetails } = await this.#call<EvaluateResult>("Runtime.evaluate", {
      expression: `let ${names.join(", ")};`,
      objectGroup: GROUP,
      replMode: true,
    });
    if (exceptionDetails) throw await this.value(exceptionDetails.exception ?? { type: "undefined" });
  }

  /**
   * The function that `code` is, with the prompt's variables in its scope. It is not called.
   *
   * @throws {SyntaxError} If it is none.
   */
  async compile(code: string): Promise<() => unknown> {
    const { result, exceptionDetails } = await this.#call<EvaluateResult>("Runtime.evaluate", {
      expression: `(${code})`,
      objectGroup: GROUP,
    });
    if (exceptionDetails) throw await this.value(exceptionDetails.exception ?? result);
    return await this.value(result) as () => unknown;
  }

  /** Evaluates only if that has no side effect; undefined if it has one, throws or takes long. */
  async peek(expression: string): Promise<RemoteObject | undefined> {
    try {
      const { result, exceptionDetails } = await this.#call<EvaluateResult>("Runtime.evaluate", {
        expression,
        objectGroup: GROUP,
        throwOnSideEffect: true,
        timeout: 100,
      });
      return exceptionDetails ? undefined : result;
    } catch {
      return undefined;
    }
  }

  /** Names of all properties of a remote object, its prototypes' included. */
  async properties(object: RemoteObject): Promise<string[]> {
    if (object.objectId === undefined) return [];
    const { result } = await this.#call<PropertyList>("Runtime.getProperties", { objectId: object.objectId });
    return result.map((property) => property.name);
  }

  /** Names that `let`, `const` and `class` gave at the prompt. */
  async lexicalNames(): Promise<string[]> {
    return (await this.#call<{ names: string[] }>("Runtime.globalLexicalScopeNames", {})).names;
  }

  /** The value behind a remote object. */
  async value(object: RemoteObject): Promise<unknown> {
    if (object.objectId === undefined && object.unserializableValue === undefined) return object.value;
    const { result: scope } = await this.#call<EvaluateResult>("Runtime.evaluate", {
      expression: "globalThis",
      objectGroup: GROUP,
    });
    const { objectId, unserializableValue } = object;
    try {
      await this.#call("Runtime.callFunctionOn", {
        objectId: scope.objectId,
        functionDeclaration: `function (value) { globalThis[Symbol.for("hvsh.slot")](value); }`,
        arguments: [objectId === undefined ? { unserializableValue } : { objectId }],
      });
      return this.#slot;
    } finally {
      this.#slot = undefined;
    }
  }

  /** Lets go of the remote objects that were handed out, so that they can be collected. */
  async release(): Promise<void> {
    await this.#call("Runtime.releaseObjectGroup", { objectGroup: GROUP });
  }

  /** Ends the session. */
  [Symbol.dispose](): void {
    this.#session.disconnect();
    Reflect.deleteProperty(globalThis, SLOT);
  }
}
