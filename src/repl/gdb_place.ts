import { ShellError } from "./error.ts";

/** Where gdb is listened for. */
export interface GdbPlace {
  /** TCP port, 0 for a free one. */
  readonly port?: number;
  /** Address; loopback if left out. */
  readonly host?: string;
  /** Path of a Unix socket. */
  readonly path?: string;
}

/**
 * Reads `PORT`, `HOST:PORT` or `unix:PATH`; also QEMU's `tcp:HOST:PORT` with an empty host for loopback.
 *
 * @throws {ShellError} If it is none of these.
 */
export function gdbPlace(text: string): GdbPlace {
  const path = /^unix:(.+)$/.exec(text)?.[1];
  if (path !== undefined) return { path };
  const [, host, port] = /^(?:tcp:)?(?:(?:(\[[0-9a-f:]+\]|[^:\s]*):)?)(\d{1,5})$/i.exec(text) ?? [];
  if (port === undefined || Number(port) > 65535) {
    throw new ShellError(`\`${text}\` is no place to wait for gdb`, "Give PORT, HOST:PORT or unix:PATH.");
  }
  return { port: Number(port), ...(host && { host: host.replace(/^\[|\]$/g, "") }) };
}
