import type { Backend, BackendConsole, BackendName, RemoteBreakpoints } from "../vm/backend.ts";
import type { Capabilities } from "../vm/capabilities.ts";
import type { BackendHistory } from "../vm/history.ts";
import type { HypervisorMonitor } from "../vm/hypervisor.ts";
import type { Picture } from "../vm/picture.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { GoneError } from "./gone.ts";
import type { QemuMonitor } from "./qemu/qemu_monitor.ts";
import type { Machine } from "./machine.ts";
import type { RemoteMemory } from "./remote_memory.ts";
import { RemoteVcpu } from "./remote_vcpu.ts";

/** What a backend over a stub is made of. */
export interface RemoteParts {
  readonly name: BackendName;
  readonly machine: Machine;
  readonly console?: BackendConsole;
  readonly monitor?: QemuMonitor;
  /** Puts the guest back to power-on. */
  reset(): void;
  /** Lets go of the guest: ends it if it is ours, lets it run on if not. */
  close(): void | Promise<void>;
}

/** A guest behind a GDB stub, with QEMU's monitor beside it where there is one. */
export class RemoteBackend implements Backend {
  readonly name: BackendName;
  /** Every exit is a round trip to another process, which may be kept waiting. */
  readonly slow = true;
  readonly capabilities: Capabilities;
  readonly vcpus: readonly RemoteVcpu[];
  readonly memory: RemoteMemory;
  readonly breakpoints: RemoteBreakpoints;
  readonly console?: BackendConsole;
  readonly monitor?: HypervisorMonitor;
  readonly history?: BackendHistory;
  readonly notices?: readonly string[];
  readonly picture: () => Promise<Picture>;
  readonly #parts: RemoteParts;
  #closing: Promise<void> | undefined;

  constructor(parts: RemoteParts) {
    const { machine, name, console, monitor } = parts;
    this.#parts = parts;
    this.name = name;
    this.capabilities = machine.capabilities;
    this.memory = machine.memory;
    this.vcpus = machine.session.threads.map((_, index) => new RemoteVcpu(index, machine));
    machine.vcpus = this.vcpus;
    this.breakpoints = machine.traps;
    if (machine.memory.linearAlone) this.notices = [LINEAR_ALONE];
    if (machine.history !== undefined) this.history = machine.history;
    if (console !== undefined) this.console = console;
    if (monitor !== undefined) {
      this.monitor = monitor;
      this.picture = () => monitor.picture();
    } else this.picture = () => Promise.reject(noScreen());
  }

  /** The first state of a replay is kept at once: the longer it stands, the further QEMU has read on. */
  ready(): Promise<void> {
    void this.history?.start;
    return Promise.resolve();
  }

  reset(): void {
    this.#parts.machine.session.requireOpen();
    this.#parts.machine.session.halt();
    this.#parts.reset();
    this.#parts.machine.revived();
  }

  close(): Promise<void> {
    return this.#closing ??= this.#close();
  }

  async #close(): Promise<void> {
    const { machine } = this.#parts;
    try {
      if (!machine.isLost) {
        machine.session.halt();
        machine.traps.clear();
      }
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      machine.lost(error.message);
    } finally {
      machine.session.close();
      await this.#parts.close();
    }
  }
}

const LINEAR_ALONE = "The stub shows no page tables: every address is a linear one, gpa() too";

function noScreen(): UnsupportedError {
  return new UnsupportedError("the screen", "a GDB stub does not show it", {
    remedy: "attach with --qmp (qmp:), if it is QEMU",
  });
}
