/** Guests that somebody else made, behind a GDB stub, with QEMU's monitor beside it if that can be had. */
import type { Backend, MemoryRegion } from "../vm/backend.ts";
import type { Capability } from "../vm/capabilities.ts";
import { HvshError, InputError } from "../vm/errors.ts";
import { GdbConnection } from "./connection.ts";
import { GoneError } from "./gone.ts";
import { Links, type Stream, type Waiter } from "./link.ts";
import { Machine } from "./machine.ts";
import { regionsOfTree } from "./memory_tree.ts";
import { QmpConnection } from "./qmp.ts";
import { qemuCapabilities, stubCapabilities } from "./qemu/capabilities.ts";
import { QemuMonitor } from "./qemu/qemu_monitor.ts";
import { RegisterFile } from "./register_file.ts";
import { RemoteBackend } from "./remote_backend.ts";
import { Session } from "./session.ts";

/** How long QEMU may take to reset a guest. */
const RESET_MS = 10_000;

/** The streams of a guest to be attached to. */
export interface AttachStreams {
  /** Connects to the stub: QEMU stops its guest for that alone. */
  gdb(): Promise<Stream>;
  readonly qmp?: Stream;
}

/**
 * Takes a guest over: it is stopped. Closing the backend takes breakpoints out and lets the guest run on, unless
 * it was found paused.
 *
 * @throws {InputError} If what answers is no stub for x86, or describes no registers.
 * @throws {HvshError} If it does not answer.
 */
export async function attachStub(streams: AttachStreams, waiter: Waiter): Promise<Backend> {
  using cleanup = new DisposableStack();
  const links = cleanup.use(new Links(waiter));
  const qmp = streams.qmp === undefined ? undefined : new QmpConnection(links, streams.qmp);
  const ran = qmp === undefined || isRunning(qmp);
  const session = takenOver(new GdbConnection(links, await streams.gdb()));
  const missing = new RegisterFile(session.description).missing;
  if (missing.length > 0) {
    throw new InputError(`the stub has no register ${missing[0]}: its target is no x86 processor`, {
      remedy: "attach to a guest of qemu-system-x86_64 or qemu-system-i386",
    });
  }
  const tree = qmp?.monitor("info mtree -f") ?? session.monitor("info mtree -f");
  const machine = new Machine({
    links,
    session,
    ...(qmp && { qmp }),
    regions: tree === undefined ? [] : withoutOverlap(regionsOfTree(tree)),
    capabilities: capabilitiesOf(session, qmp),
  });
  const monitor = qmp && new QemuMonitor(machine, qmp);
  const owned = cleanup.move();
  return new RemoteBackend({
    name: "gdb",
    machine,
    ...(monitor && { monitor }),
    reset: () => {
      if (qmp === undefined) return machine.refuse("reset");
      qmp.forget();
      qmp.execute("system_reset");
      if (qmp.event("RESET", RESET_MS) === undefined) {
        throw new HvshError("QEMU did not reset the guest", {
          remedy: "see what it was started with (-action)",
        });
      }
    },
    close: () => {
      using _ = owned;
      if (machine.isLost) session.abandon(ran, machine.traps.removals);
      else session.leave(ran);
    },
  });
}

/** A stub that has a debugger already says nothing to another one: QEMU's leaves it waiting. */
function takenOver(connection: GdbConnection): Session {
  try {
    return new Session(connection);
  } catch (cause) {
    if (!(cause instanceof GoneError)) throw cause;
    const remedy = "a stub serves one debugger at a time: see whether another one is attached to it";
    throw new GoneError(cause.message, { cause, remedy });
  }
}

function isRunning(qmp: QmpConnection): boolean {
  const status = qmp.execute("query-status") as { running?: unknown };
  return status.running === true;
}

function capabilitiesOf(session: Session, qmp: QmpConnection | undefined): ReadonlyMap<string, Capability> {
  if (qmp !== undefined) return qemuCapabilities(qmp.version, "attached to");
  return stubCapabilities(session.features.physical ? "QEMU's stub" : "the stub");
}

/** The contract of `BackendMemory.regions`: sorted and apart. */
function withoutOverlap(regions: readonly MemoryRegion[]): MemoryRegion[] {
  const sorted = [...regions].sort((a, b) => a.start < b.start ? -1 : 1);
  return sorted.filter(({ start }, i) => i === 0 || start >= sorted[i - 1].start + sorted[i - 1].size);
}
