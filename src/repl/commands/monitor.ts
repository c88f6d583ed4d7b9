/** qemu, savevm, loadvm, and devices of QEMU's: what its monitor does. */
import { type HypervisorMonitor, InputError, UnsupportedError } from "../../dsl/mod.ts";
import type { Answer } from "../command.ts";
import type { Session } from "../session.ts";
import { guest } from "./values.ts";

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

/** In QEMU: `device_add virtio-blk FILE` and `device_add virtio-net [open]`; undefined if `rest` is neither. */
export async function plug(session: Session, rest: string): Promise<Answer | undefined> {
  const [, kind, argument = ""] = /^(virtio-blk|virtio-net)(?:-pci)?(?:\s+(.*))?$/.exec(rest) ?? [];
  if (kind === undefined || guest(session).monitor === undefined) return undefined;
  const monitor = monitorOf(session);
  let id: string;
  if (kind === "virtio-blk") {
    if (argument === "") {
      throw new InputError("virtio-blk needs an image", { remedy: "device_add virtio-blk disk.img" });
    }
    id = await monitor.addDisk(argument);
  } else {
    if (argument !== "" && argument !== "open") {
      throw new InputError(`virtio-net takes no "${argument}"`, {
        remedy: "open, for the host's network, or nothing",
      });
    }
    id = await monitor.addNetwork({ open: argument === "open" });
  }
  return { text: `${id} is plugged in.\n`, data: { id } };
}
