/** Shared libraries that are not libc: found by a list of sonames, and watched in a debug mode. */

import { guardBuffers } from "./guard.ts";
import { HostError } from "./error.ts";
import { functionsOf } from "./symbol.ts";

/** Where a library may lie; only looked at to say what is there when none of the wanted versions is. */
const FOLDERS = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];

/** Functions of a library, typed by their declarations. */
export type Functions<S extends Deno.ForeignLibraryInterface> = Deno.DynamicLibrary<S>["symbols"];

/**
 * Opens the first of `sonames` that is here, for the life of the process.
 *
 * With `HVSH_GUARD=1` in the environment every buffer that is handed to it lies between guard bytes for the
 * duration of the call: what the library writes beyond the buffer's end is an error instead of a crash later on.
 *
 * @param name What the library is called without a version: `libxenctrl`.
 * @param sonames With their versions, the best first.
 * @param symbols Declarations, which are those of the library's headers.
 * @param often Those of them that are called again and again: each gets a way of its own, compiled at its first use.
 * @throws {HostError} If none of them is here; the remedy names those that are.
 */
export function openLibrary<const S extends Deno.ForeignLibraryInterface>(
  name: string,
  sonames: readonly string[],
  symbols: S,
  often: readonly (keyof S)[] = [],
): Functions<S> {
  let cause: unknown;
  for (const soname of sonames) {
    try {
      // SAFETY: nothing of it is called here; it is never closed.
      Deno.dlopen(soname, {});
      const functions = bindLater(soname, symbols, new Set<PropertyKey>(often));
      return guarding() ? guardBuffers(functions, symbols) : functions;
    } catch (error) {
      cause = error;
    }
  }
  const present = versionsOf(name);
  throw new HostError(`dlopen ${sonames.join(", ")}`, 0, {
    cause,
    remedy: present.length === 0
      ? `There is no ${name} here: install it (Debian: apt install xen-utils), or run hvsh in dom0.`
      : `Here is ${present.join(", ")}; hvsh knows ${sonames.join(", ")}.`,
  });
}

/** Each function is bound when it is first asked for: a command needs a few of many. */
function bindLater<const S extends Deno.ForeignLibraryInterface>(
  soname: string,
  symbols: S,
  often: ReadonlySet<PropertyKey>,
): Functions<S> {
  const functions = {};
  const find = functionsOf(soname);
  for (const [name, definition] of Object.entries(symbols)) {
    Object.defineProperty(functions, name, {
      configurable: true,
      enumerable: true,
      get(): unknown {
        // SAFETY: the declarations are those of the library's headers for this soname; it is never closed, so its
        // functions outlive every caller.
        const value = often.has(name)
          ? Deno.dlopen(soname, { [name]: definition }).symbols[name]
          : find(name, definition as Deno.ForeignFunction);
        Object.defineProperty(functions, name, { value });
        return value;
      },
    });
  }
  return functions as Functions<S>;
}

function guarding(): boolean {
  return Deno.env.get("HVSH_GUARD") === "1";
}

/** Files of the library's other versions. */
function versionsOf(name: string): string[] {
  const found = new Set<string>();
  for (const folder of FOLDERS) {
    try {
      for (const entry of Deno.readDirSync(folder)) {
        if (entry.name.startsWith(`${name}.so.`)) found.add(entry.name);
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return [...found].sort();
}

/**
 * `buffer`, if it has the length that the library will write or read.
 *
 * @param call For the message.
 * @param length Bytes.
 * @throws {RangeError} If it is shorter.
 */
export function sized<B extends ArrayBufferView<ArrayBuffer>>(call: string, buffer: B, length: number): B {
  if (buffer.byteLength < length) {
    throw new RangeError(`${call} takes a buffer of ${length} bytes; this one has ${buffer.byteLength}.`);
  }
  return buffer;
}
