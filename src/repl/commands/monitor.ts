/** qemu, savevm, loadvm, and devices of QEMU's: what its monitor does. */
import type { HypervisorMonitor } from "../../dsl/mod.ts";
import { InputError, UnsupportedError } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import type { Session } from "../session.ts";
import { guest } from "./selected.ts";

/** @throws {UnsupportedError} If the guest is not QEMU's. */
function monitorOf(session: Session): HypervisorMonitor {
  const vm = guest(session);
  if (vm.monitor !== undefined) return vm.monitor;
  throw new UnsupportedError("QEMU's monitor", `this guest is on ${vm.backend}`, {
    remedy: "open it with --backend qemu, or attach with --qmp",
  });
}

/** `qemu LINE`: a line of QEMU's human monitor. */
export async function qemu(session: Session, line: string): Promise<Answer> {
  if (line === "") throw new InputError("qemu needs a line of its monitor", { remedy: "qemu info pci" });
  const text = await monitorOf(session).command(line);
  return { text: text === "" || text.endsWith("\n") ? text : `${text}\n`, data: text };
}

/** `savevm NAME`. */
export async function saveState(session: Session, name: string): Promise<Answer> {
  await monitorOf(session).save(name);
  return { text: `The state is kept as ${name}.\n`, data: { saved: name } };
}

/** `loadvm NAME`. */
export async function loadState(session: Session, name: string): Promise<Answer> {
  await monitorOf(session).load(name);
  return { text: `The guest is as it was at ${name}.\n`, data: { loaded: name } };
}
