/** libxenstore: the tree in which Xen's domains and tools tell each other things. */

import { HostError } from "../error.ts";
import { cString, errno, libc } from "../libc.ts";
import { type Functions, openLibrary } from "../library.ts";

const SYMBOLS = {
  // struct xs_handle *xs_open(unsigned long flags); void xs_close(struct xs_handle *)
  xs_open: { parameters: ["u64"], result: "pointer" },
  xs_close: { parameters: ["pointer"], result: "void" },
  // void *xs_read(struct xs_handle *, xs_transaction_t, const char *path, unsigned int *len)
  xs_read: { parameters: ["pointer", "u32", "buffer", "buffer"], result: "pointer" },
  // char **xs_directory(struct xs_handle *, xs_transaction_t, const char *path, unsigned int *num)
  xs_directory: { parameters: ["pointer", "u32", "buffer", "buffer"], result: "pointer" },
} as const;

/** Where a xenstored of dom0's own listens. One in a domain of its own has no socket, and is asked through the kernel. */
const SOCKET = "/var/run/xenstored/socket";
/** XS_OPEN_SOCKETONLY of xenstore.h. */
const SOCKET_ONLY = 2n;

/**
 * How xenstored is asked. Where it had a socket the kernel is no way round it: a request to a xenstored that is no more
 * waits there for ever.
 */
export function openFlags(socket: string = SOCKET): bigint {
  try {
    Deno.lstatSync(socket);
    return SOCKET_ONLY;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0n;
    throw error;
  }
}

let functions: Functions<typeof SYMBOLS> | undefined;

/** A connection to xenstored. */
export class XenStore implements Disposable {
  #handle: Deno.PointerValue;
  readonly #f: Functions<typeof SYMBOLS>;

  /** @throws {HostError} If the library is missing or xenstored does not answer. */
  constructor() {
    libc();
    functions ??= openLibrary("libxenstore", ["libxenstore.so.4", "libxenstore.so.3.0"], SYMBOLS);
    this.#f = functions;
    this.#handle = functions.xs_open(openFlags());
    const failed = errno();
    if (this.#handle === null) {
      throw new HostError("xs_open", failed, {
        remedy:
          "Is xenstored there? Start it (systemctl start xenstored); one that died can't be brought back: restart the host.",
      });
    }
  }

  get #open(): Deno.PointerValue {
    if (this.#handle === null) throw new RangeError("This connection to xenstored is closed.");
    return this.#handle;
  }

  /** The value at `path`; undefined if there is none. */
  read(path: string): string | undefined {
    const length = new Uint32Array(1);
    const value = this.#f.xs_read(this.#open, 0, cString(path), length);
    if (value === null) return undefined;
    try {
      // SAFETY: xs_read allocated `length` bytes and a NUL behind them; they are copied before they are freed.
      return new TextDecoder().decode(
        new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(value, length[0])).slice(),
      );
    } finally {
      libc().free(value);
    }
  }

  /** The names below `path`; none if there is no such directory. */
  list(path: string): string[] {
    const count = new Uint32Array(1);
    const names = this.#f.xs_directory(this.#open, 0, cString(path), count);
    if (names === null) return [];
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
