/** libxenstore: the tree in which Xen's domains and tools tell each other things. */

import { ERRNO } from "../../abi/errno.ts";
import { HostError } from "../error.ts";
import { cString, errno, libc } from "../libc.ts";
import { type Functions, openLibrary } from "../library.ts";
import { SONAMES } from "./sonames.ts";

const SYMBOLS = {
  // struct xs_handle *xs_open(unsigned long flags); void xs_close(struct xs_handle *)
  xs_open: { parameters: ["u64"], result: "pointer" },
  xs_close: { parameters: ["pointer"], result: "void" },
  // void *xs_read(struct xs_handle *, xs_transaction_t, const char *path, unsigned int *len)
  xs_read: { parameters: ["pointer", "u32", "buffer", "buffer"], result: "pointer" },
  // char **xs_directory(struct xs_handle *, xs_transaction_t, const char *path, unsigned int *num)
  xs_directory: { parameters: ["pointer", "u32", "buffer", "buffer"], result: "pointer" },
} as const;

/** Where a xenstored of dom0's own listens. */
const SOCKET = "/var/run/xenstored/socket";
/** Where libxenstore looks for xenstored, instead of the socket first and the kernel's device next (xs.c). */
const PATH_VARIABLE = "XENSTORED_PATH";

/**
 * The environment that libxenstore, in this process or in `xl`, is to be given. The kernel is no way round a socket at
 * which nobody answers: a request to a xenstored that is no more waits there for ever. The library takes that way by
 * itself (XS_OPEN_SOCKETONLY is ignored), so that it is told of the socket alone. One that runs in a domain of its own has
 * no socket, and is asked through the kernel.
 *
 * @param inDomain Whether a domain is xenstored's (XEN_DOMINF_xs_domain).
 */
export function storeEnvironment(inDomain: () => boolean): Record<string, string> {
  return Deno.env.has(PATH_VARIABLE) || inDomain() ? {} : { [PATH_VARIABLE]: SOCKET };
}

let functions: Functions<typeof SYMBOLS> | undefined;

/** A connection to xenstored. */
export class XenStore implements Disposable {
  #handle: Deno.PointerValue;
  readonly #f: Functions<typeof SYMBOLS>;

  /**
   * @param inDomain Whether a domain is xenstored's.
   * @throws {HostError} If the library is missing or xenstored does not answer.
   */
  constructor(inDomain: () => boolean) {
    libc();
    functions ??= openLibrary("libxenstore", SONAMES.libxenstore, SYMBOLS);
    this.#f = functions;
    const environment = Object.entries(storeEnvironment(inDomain));
    for (const [name, value] of environment) Deno.env.set(name, value);
    this.#handle = functions.xs_open(0n);
    const failed = errno();
    for (const [name] of environment) Deno.env.delete(name);
    if (this.#handle === null) throw noStore("xs_open", failed);
  }

  get #open(): Deno.PointerValue {
    if (this.#handle === null) throw new RangeError("This connection to xenstored is closed.");
    return this.#handle;
  }

  /** The value at `path`; undefined if there is none. @throws {HostError} If xenstored does not answer any more. */
  read(path: string): string | undefined {
    const length = new Uint32Array(1);
    const value = this.#f.xs_read(this.#open, 0, cString(path), length);
    if (value === null) return noneAt(path, errno());
    try {
      // SAFETY: xs_read allocated `length` bytes and a NUL behind them; they are copied before they are freed.
      return new TextDecoder().decode(
        new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(value, length[0])).slice(),
      );
    } finally {
      libc().free(value);
    }
  }

  /** The names below `path`; none if there is no such directory. @throws {HostError} As `read`. */
  list(path: string): string[] {
    const count = new Uint32Array(1);
    const names = this.#f.xs_directory(this.#open, 0, cString(path), count);
    if (names === null) return noneAt(path, errno()) ?? [];
    try {
      // SAFETY: xs_directory gives one allocation: `count` pointers, and behind them the strings they point to.
      const table = new Deno.UnsafePointerView(names);
      return Array.from({ length: count[0] }, (_, i) => {
        const name = table.getPointer(i * 8);
        return name === null ? "" : new Deno.UnsafePointerView(name).getCString();
      });
    } finally {
      libc().free(names);
    }
  }

  /** Closes the connection; doing it twice is harmless. */
  [Symbol.dispose](): void {
    const handle = this.#handle;
    if (handle === null) return;
    this.#handle = null;
    this.#f.xs_close(handle);
  }
}

/** What a call means that gave nothing: there is nothing of that name, or nobody to ask. */
function noneAt(path: string, failed: number): undefined {
  if (failed !== ERRNO.ENOENT) throw noStore(`reading ${path} from xenstore`, failed);
}

function noStore(call: string, failed: number): HostError {
  return new HostError(call, failed, {
    remedy:
      "Is xenstored there? Start it (systemctl start xenstored); one that died can't be brought back: restart the host.",
  });
}
