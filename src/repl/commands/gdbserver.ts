/** gdbserver: the guest for gdb and lldb. */
import type { GdbServer, GuestMachine } from "../../dsl/mod.ts";
import type { Answer } from "../command.ts";
import { gdbPlace } from "../gdb_place.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** QEMU's, and so everybody's, port for gdb. */
const USUAL = "1234";

const SERVERS = new WeakMap<GuestMachine, GdbServer>();

/** `gdbserver [PLACE]`: serves the guest there (and nowhere else any more). `gdbserver none`: no longer. */
export async function gdbServer(session: Session, rest: string): Promise<Answer> {
  const vm = guest(session);
  const present = SERVERS.get(vm);
  if (rest === "none") {
    SERVERS.delete(vm);
    await present?.close();
    return { text: "gdb is not waited for.\n", data: { address: null } };
  }
  const place = gdbPlace(rest === "" ? USUAL : rest);
  await present?.close();
  SERVERS.delete(vm);
  const server = await vm.gdbServer({
    ...place,
    monitor: (line) => session.capture(line),
    tell: (text) => session.print(text),
  });
  SERVERS.set(vm, server);
  return {
    text: `gdb is waited for: target remote ${server.address}\n`,
    data: { address: server.address },
  };
}
