/**
 * Functions of libraries by their address. Deno compiles a way into each function that `Deno.dlopen` binds, 0.2 ms of work
 * for which some thirty calls pay; one that a program calls a few times is had for less by asking for its address.
 */

import { HostError } from "./error.ts";
import { cString, libc } from "./libc.ts";

/** void *dlopen(const char *filename, int flags) */
const DLOPEN = { parameters: ["buffer", "i32"], result: "pointer" } as const;
/** Its flags (dlfcn.h): all symbols now; only what is in the process already. */
const RTLD_NOW = 2;
const RTLD_NOLOAD = 4;

type Call = (...args: unknown[]) => unknown;

/**
 * The functions of a library that this process has open, and keeps open.
 *
 * @returns Gives one of them by its name and its declaration in the library's headers.
 * @throws {HostError} If the library is not open; later, if it has no such function.
 */
export function functionsOf(soname: string): (symbol: string, declaration: Deno.ForeignFunction) => Call {
  const { dlsym } = libc();
  // SAFETY: the declaration is glibc's. Null is RTLD_DEFAULT, which finds what libc has.
  const dlopen = through(dlsym(null, cString("dlopen"))!, DLOPEN);
  const library = dlopen(cString(soname), RTLD_NOW | RTLD_NOLOAD) as Deno.PointerValue;
  if (library === null) throw new HostError(`dlopen ${soname}`, 0);
  return (symbol, declaration) => {
    const address = dlsym(library, cString(symbol));
    if (address === null) throw new HostError(`dlsym ${soname}, ${symbol}`, 0);
    // SAFETY: the declaration is that of the library's headers, and the library is never closed.
    return through(address, declaration);
  };
}

function through(address: Deno.PointerObject, declaration: Deno.ForeignFunction): Call {
  const pointer = new Deno.UnsafeFnPointer(address as Deno.PointerObject<Deno.ForeignFunction>, declaration);
  return (...args) => (pointer.call as Call)(...args);
}

/**
 * Has libraries read and linked by another thread while this one goes on: whoever opens them next finds them there. What
 * fails here fails there once more, and is told there.
 */
export async function linkAhead(sonames: readonly string[]): Promise<void> {
  const { dlopenLater } = libc();
  for (const soname of sonames) await dlopenLater(cString(soname), RTLD_NOW);
}
