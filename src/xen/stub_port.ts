/**
 * The event channel port of a PV domain that its stop stub tells dom0 by. Xen has no call to close it from outside: each
 * stub after the first one takes the port that the first one had.
 */

import { HostError } from "../host/error.ts";

/** Where the port of each domain is written down: gone after a restart of the host, as domains are. */
const FOLDER = "/run/hvsh-ports";

/** What is asked of Xen. */
export interface PortParts {
  readonly domain: number;
  readonly uuid: string;
  /** Whether there is a domain of a number. */
  exists(domain: number): boolean;
  /** A new port of the domain's that dom0 may bind to. */
  allocate(): number;
  /** Binds to a port of the domain's; gives ours. @throws {HostError} If it is not there, or not for dom0, or taken. */
  bind(port: number): number;
}

/** Binds to the port that the domain has for this already, or to a new one. @throws {HostError} */
export function connectPort(parts: PortParts, folder: string = FOLDER): { guest: number; ours: number } {
  const { domain, uuid, exists, allocate, bind } = parts;
  const path = `${folder}/${domain}`;
  const before = readPort(path, uuid);
  if (before !== undefined) {
    try {
      return { guest: before, ours: bind(before) };
    } catch (error) {
      // The guest closed it, or another debugger has it.
      if (!(error instanceof HostError)) throw error;
    }
  }
  const guest = allocate();
  const ours = bind(guest);
  try {
    Deno.mkdirSync(folder, { recursive: true, mode: 0o700 });
    // What was written down of domains that are no more is of use to nobody.
    for (const { name } of Deno.readDirSync(folder)) {
      if (/^\d+$/.test(name) && !exists(Number(name))) Deno.removeSync(`${folder}/${name}`);
    }
    Deno.writeTextFileSync(path, JSON.stringify({ uuid, port: guest }), { mode: 0o600 });
  } catch (error) {
    // Then the next one takes a new port.
    if (!(error instanceof Error && "code" in error)) throw error;
  }
  return { guest, ours };
}

/** Undefined unless one was written down for that very domain. */
function readPort(path: string, uuid: string): number | undefined {
  try {
    const { uuid: of, port } = JSON.parse(Deno.readTextFileSync(path)) as { uuid?: unknown; port?: unknown };
    return of === uuid && Number.isSafeInteger(port) && port as number > 0 ? port as number : undefined;
  } catch {
    return undefined;
  }
}
