/** The server for gdb, with the host's quick way to its sockets. */
import { type GdbServer, type GdbServerOptions, serveGdb } from "../gdb/server.ts";
import { DirectSocket } from "../host/direct_socket.ts";
import type { Machine } from "../vm/machine.ts";

/** Serves a guest to gdb and lldb. @throws {InputError} If the address can't be listened on. */
export function serve(vm: Machine, options: GdbServerOptions): GdbServer {
  return serveGdb(vm, options, ({ localAddr, remoteAddr }) => DirectSocket.of(localAddr, remoteAddr));
}
