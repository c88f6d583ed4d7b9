import type { Capabilities } from "../vm/capabilities.ts";
import { need } from "../vm/capabilities.ts";
import type { VmExit } from "../vm/exit.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { GoneError } from "./gone.ts";
import type { Links } from "./link.ts";
import type { QmpConnection } from "./qmp.ts";
import type { QemuReplay } from "./qemu/replay.ts";
import { parseRegisterDump, type RegisterDump } from "./register_dump.ts";
import { derived, RegisterFile } from "./register_file.ts";
import { RemoteMemory } from "./remote_memory.ts";
import type { RemoteVcpu } from "./remote_vcpu.ts";
import type { Session } from "./session.ts";
import type { RegisterMap, SnapshotSource } from "./snapshot.ts";
import type { StopReply } from "./stop_reply.ts";
import { RemoteTraps } from "./traps.ts";
import type { MemoryRegion } from "../vm/backend.ts";
import type { RegisterName } from "../vm/registers.ts";

/** How long QEMU may take to say why it stopped the guest. */
const EVENT_MS = 2_000;

/** What a machine behind a stub is made of. */
export interface MachineParts {
  readonly links: Links;
  readonly session: Session;
  readonly qmp?: QmpConnection;
  readonly regions: readonly MemoryRegion[];
  readonly capabilities: Capabilities;
  /** Whether the processor went through a triple fault, where that can be told from a reset. */
  readonly tripleFault?: () => boolean;
}

/** What the vCPUs of a guest behind a stub have in common. */
export class Machine {
  readonly session: Session;
  readonly qmp: QmpConnection | undefined;
  readonly file: RegisterFile;
  readonly traps: RemoteTraps;
  readonly memory: RemoteMemory;
  readonly capabilities: Capabilities;
  /** The recording that is replayed; set once, where there is one. */
  history: QemuReplay | undefined;
  /** Filled in by the backend. */
  vcpus: readonly RemoteVcpu[] = [];
  /** The code that the guest gave its debug-exit port; set by the link to it, taken by a vCPU's run. */
  exited: number | undefined;
  /** What ended the machine for good, or until it is reset. */
  #over: VmExit | undefined;
  readonly #links: Links;
  readonly #tripleFault: () => boolean;
  readonly #exits = new Map<number, VmExit>();
  readonly #dumps = new Map<number, { generation: number; dump: RegisterDump | undefined }>();
  readonly #known = new Map<number, RegisterMap>();

  constructor(parts: MachineParts) {
    this.#links = parts.links;
    this.session = parts.session;
    this.qmp = parts.qmp;
    this.capabilities = parts.capabilities;
    this.file = new RegisterFile(parts.session.description);
    this.traps = new RemoteTraps(parts.session);
    this.memory = new RemoteMemory(parts.session, parts.regions);
    this.#tripleFault = parts.tripleFault ?? (() => false);
  }

  /** Why nothing runs any more; undefined while something may. */
  get gone(): VmExit | undefined {
    return this.#over;
  }

  /** Whether the other side can't be asked any more. */
  get isLost(): boolean {
    return this.#over?.kind === "gone";
  }

  /** Notes that the other side is no more. */
  lost(reason: string): VmExit {
    return this.#over = { kind: "gone", reason };
  }

  /** The guest can run again: it was reset, or another state was loaded. */
  revived(): void {
    if (!this.isLost) this.#over = undefined;
    this.exited = undefined;
    this.#exits.clear();
    this.session.forgetStop();
    for (const vcpu of this.vcpus) vcpu.changed();
  }

  /** What stopped the guest within `timeoutMs`; undefined if nothing did, or its debug-exit port was written. */
  wait(timeoutMs: number): StopReply | undefined {
    const { session } = this;
    let reply = session.kept() ?? session.arrived();
    if (reply !== undefined) return reply;
    this.#links.until(() => {
      reply = session.arrived();
      return reply !== undefined || this.exited !== undefined || session.connection.gone !== undefined;
    }, timeoutMs);
    const gone = reply === undefined ? session.connection.gone : undefined;
    if (gone !== undefined) throw new GoneError(gone);
    return reply;
  }

  /** An exit that was found while another vCPU was asked. */
  takeExit(index: number): VmExit | undefined {
    const exit = this.#exits.get(index);
    this.#exits.delete(index);
    return exit;
  }

  /** Keeps one for the vCPU that it is of. */
  keepExit(index: number, exit: VmExit): void {
    this.#exits.set(index, exit);
  }

  /** QEMU stopped the guest for good: it was switched off, or reset itself. */
  shutDown(): VmExit {
    const data = this.qmp?.event("SHUTDOWN", EVENT_MS)?.data;
    const reason = String(data?.reason ?? "unknown");
    const detail = `QEMU says ${reason}`;
    if (reason === "guest-reset" && this.#tripleFault()) return this.#over = { kind: "shutdown" };
    const event = reason === "guest-reset"
      ? "reset"
      : reason === "guest-shutdown"
      ? "poweroff"
      : reason === "guest-panic"
      ? "crash"
      : "other";
    return this.#over = { kind: "system-event", event, detail };
  }

  /** A vCPU's state as QEMU's monitor prints it; undefined where there is none that can be asked now. */
  dump(index: number): RegisterDump | undefined {
    const { running, generation } = this.session;
    const { physical: byStub } = this.session.features;
    if (this.qmp === undefined && (running || !byStub)) return undefined;
    const kept = this.#dumps.get(index);
    if (!running && kept?.generation === generation) return kept.dump;
    // The stub's way takes half the time of QMP's, but it has to be told which vCPU is meant.
    const quicker = byStub && !running && this.session.threads.length === 1;
    const text = this.qmp === undefined || quicker
      ? this.#dumpByStub(index)
      : this.qmp.monitor("info registers", index);
    const dump = text === undefined ? undefined : parseRegisterDump(text);
    if (!running) this.#dumps.set(index, { generation, dump });
    return dump;
  }

  /** The monitor behind the stub has a vCPU of its own that it talks of. */
  #dumpByStub(index: number): string | undefined {
    const { session } = this;
    if (session.threads.length > 1 && session.monitor(`cpu ${index}`) === undefined) return undefined;
    return session.monitor("info registers");
  }

  /** The answer to `g`, as `RegisterFile` reads it. @throws {GoneError} */
  general(index: number): Uint8Array {
    this.session.halt();
    return this.session.general(index);
  }

  /** Where a snapshot of a vCPU comes from. */
  source(index: number): SnapshotSource {
    const { session } = this;
    const shown = () => {
      const values = this.file.read(this.general(index), this.monitored ? HALVED_BASES : undefined);
      this.#known.set(index, values);
      return values;
    };
    const lastly = () => this.#known.get(index) ?? NOTHING;
    return {
      get generation() {
        return session.generation;
      },
      shown: () => this.#orLost(shown, lastly),
      hidden: () => this.#orLost(() => this.dump(index)?.values ?? derived(shown()), lastly),
    };
  }

  /** Whether there is a monitor that prints what the stub hides. */
  get monitored(): boolean {
    return this.qmp !== undefined || this.session.features.physical;
  }

  /** Throws that a capability is not there. */
  refuse(name: string): never {
    need(this.capabilities, name);
    throw new UnsupportedError(name, "the stub does not offer it", { remedy: "use the kvm backend" });
  }

  /** What the guest looked like when it was last seen is all there is once it is gone. */
  #orLost<T>(ask: () => T, otherwise: () => T): T {
    if (this.isLost) return otherwise();
    try {
      return ask();
    } catch (error) {
      if (!(error instanceof GoneError)) throw error;
      this.lost(error.message);
      return otherwise();
    }
  }
}

/** QEMU's stub shows half of them outside of 64-bit code; its monitor all of them. */
const HALVED_BASES: ReadonlySet<RegisterName> = new Set<RegisterName>(["fs_base", "gs_base"]);

const NOTHING: RegisterMap = new Map();
