import { XEN } from "../abi/xen.ts";
import { XenControl } from "../host/xen/control.ts";
import { DeviceModel } from "../host/xen/device_model.ts";
import { DomainCalls } from "../host/xen/domctl.ts";
import { EventChannels } from "../host/xen/event_channels.ts";
import { ForeignMemory } from "../host/xen/foreign_memory.ts";
import { XenStore } from "../host/xen/store.ts";
import type { Backend, BackendName, BackendPci, Interrupts, Reports } from "../vm/backend.ts";
import type { BusClaims } from "../vm/bus.ts";
import type { Capabilities } from "../vm/capabilities.ts";
import { FaultError, UnsupportedError } from "../vm/errors.ts";
import { walk } from "../x86/paging.ts";
import type { DeviceClaims } from "./capabilities.ts";
import { DomainClaims, DomainPci, type TakenSlots } from "./claims.ts";
import { openConsole, type XenConsole } from "./console.ts";
import type { InstructionLength } from "./crossing.ts";
import {
  type DomainKind,
  type DomainRecord,
  findDomain,
  readFlags,
  readPages,
  stateOf,
  storeInDomain,
  TRIPLE_FAULT,
} from "./domain.ts";
import { FrameCache } from "./frames.ts";
import { GuestFrames, PseudoFrames } from "./guest_frames.ts";
import { HvmStopper } from "./hvm_stopper.ts";
import { HvmVcpu } from "./hvm_vcpu.ts";
import { DomainInterrupts } from "./interrupts.ts";
import { IoreqServer } from "./ioreq_server.ts";
import { closeAtEnd } from "./leaving.ts";
import { XenMemory } from "./memory.ts";
import { Marks } from "./marks.ts";
import { Monitor } from "./monitor.ts";
import { PhysicalToMachine } from "./p2m.ts";
import { PvStopper, type StopperParts } from "./pv_stopper.ts";
import { PvVcpu } from "./pv_vcpu.ts";
import { putBack, repair } from "./repair.ts";
import { DomainRunner } from "./runner.ts";
import type { StopStrategy } from "./strategy.ts";
import type { XenVcpu } from "./vcpu.ts";

/** vCPU numbers go up to HVM_MAX_VCPUS - 1 and XEN_LEGACY_MAX_VCPUS: no domain has more. */
const MAX_VCPUS = 512;

/** What a domain of our own is attached to with. */
export interface AttachHow {
  /**
   * What can be done with a domain of a kind.
   *
   * @param events What its monitor can have reported: bits by XEN_DOMCTL_MONITOR_EVENT_*.
   */
  capabilities(kind: DomainKind, events: number): Capabilities;
  /** Whether the domain was created paused for us: that pause is taken over. */
  readonly adopt?: boolean;
  /** Decodes; without it, some instructions of HVM guests can't be stepped. */
  readonly lengthOf?: InstructionLength;
  /**
   * Which accesses of an HVM or PVH domain come to hvsh: everything that Xen does not answer, or what devices claim.
   * Left out: none.
   */
  readonly devices?: DeviceClaims;
  /** For PCI functions beside QEMU's; left out: there can be none. */
  readonly pci?: { readonly taken: TakenSlots; readonly configured: boolean };
  /** The folder that it is written down in what is in the domain; left out: the host's own for that. */
  readonly marks?: string;
  /** Bytes of RAM, where hvsh knows it: Xen's own pages lie beyond. */
  readonly memory?: number;
  /** For a domain of our own: what its backend is called, and what ends it when it is closed. */
  readonly own?: {
    readonly name: BackendName;
    /** `pristine`: its state before its first instruction, where it can be started over with that; it is paused then. */
    destroy(pristine?: Uint8Array<ArrayBuffer>): void;
    forget(): void;
  };
}

/** A domain, held by this debugger: one that others made, or one of our own. */
export class AttachedDomain implements Backend {
  readonly name: BackendName;
  readonly vcpus: readonly XenVcpu[];
  readonly memory: XenMemory;
  readonly capabilities: Capabilities;
  readonly console?: XenConsole;
  readonly interrupts?: Interrupts;
  readonly claims?: BusClaims;
  readonly pci?: BackendPci;
  readonly reports?: Reports;
  readonly slow = true;
  /** What it was when it was attached to. */
  readonly domain: DomainRecord;
  readonly notices: readonly string[];
  readonly #runner: DomainRunner;
  readonly #resources: DisposableStack;
  readonly #own: AttachHow["own"];
  readonly #control: XenControl;
  readonly #calls: DomainCalls;
  readonly #frames: FrameCache;
  #pristine: Uint8Array<ArrayBuffer> | undefined;
  #kept = false;

  /**
   * Pauses the domain and looks at it.
   *
   * @param wanted Its name or number.
   * @param how What differs for a domain of our own.
   * @throws {InputError} If there is no such domain.
   * @throws {UnsupportedError} If it is of a kind that can't be looked at.
   * @throws {HostError} If Xen refuses.
   */
  constructor(wanted: string | number, how: AttachHow) {
    this.#own = how.own;
    this.name = how.own?.name ?? "xen";
    using cleanup = new DisposableStack();
    const control = this.#control = cleanup.use(new XenControl());
    const store = cleanup.use(new XenStore(() => storeInDomain(control)));
    const found = this.domain = findDomain(control, store, wanted);
    const { id } = found;
    const pv = found.kind === "pv";
    if (pv && control.guestWidth(id) !== 8) {
      throw new UnsupportedError(`attaching to ${found.name}`, "it is a 32-bit PV guest", {
        remedy: "hvsh knows 64-bit PV guests, PVH and HVM guests",
      });
    }
    const calls = this.#calls = cleanup.use(new DomainCalls());
    const foreign = cleanup.use(new ForeignMemory());
    const frames = this.#frames = cleanup.use(new FrameCache(foreign, id));
    const model = pv ? undefined : cleanup.use(new DeviceModel());
    const kind = model === undefined
      ? cleanup.use(pvKind(control, found, frames))
      : { ...hvmKind({ control, id, frames, foreign, model }, how), [Symbol.dispose]: () => {} };
    const marks = cleanup.use(
      new Marks({ domain: id, uuid: found.uuid, name: found.name || `${id}` }, how.marks),
    );
    let strategy: StopStrategy | undefined;
    const runner = this.#runner = new DomainRunner({
      control,
      domain: id,
      goesOn: (stepping) => {
        if (!stepping) frames.clear();
      },
      held: (on) => marks.held = on,
      strategy: () => strategy = kind.strategy(this.vcpus, this.memory, marks),
      own: how.own !== undefined,
      ...(!pv && {
        revived: () => {
          const up = (this.vcpus as readonly HvmVcpu[]).map((vcpu) => vcpu.revive());
          if (!up.includes(true)) return false;
          // It is let go, and at once, before its vCPUs can run.
          runner.holdAgain();
          calls.resume(id);
          return true;
        },
      }),
    });
    this.memory = new XenMemory(frames, kind.map, runner, marks);
    // Before it is paused: a signal that comes now is answered once all of this is there.
    cleanup.defer(closeAtEnd(() => this.close()));
    runner.hold();
    // What `xl create -p` paused is paused by us from now on.
    if (how.adopt) control.unpause(id);
    if (how.own !== undefined && !pv) control.setTripleFault(id, TRIPLE_FAULT);
    cleanup.defer(() => runner.close());
    // While it is paused still: it runs no instruction more.
    if (how.own !== undefined) cleanup.defer(() => this.#end(control));
    const parts = { control, calls, domain: id, runner };
    const stopper = () => strategy as HvmStopper | undefined;
    if (pv) needStarted(calls, found);
    const count = Math.min(found.maxVcpu + 1, MAX_VCPUS);
    this.vcpus = Array.from({ length: count }, (_, index) =>
      model === undefined
        ? new PvVcpu(index, {
          ...parts,
          p2m: kind.p2m!,
          stopper: () => strategy as PvStopper | undefined,
        })
        : new HvmVcpu(index, {
          ...parts,
          model,
          memory: () => this.memory,
          monitor: () => stopper()?.monitor,
          server: () => stopper()?.server,
          ...(how.lengthOf && { lengthOf: how.lengthOf }),
        }));
    // Left by a program that ended in the middle of everything, they would be run into.
    cleanup.defer(() => {
      const patches = [...marks.patches];
      if (patches.length === 0 || !runner.tryHold()) return;
      for (const patch of patches) putBack(this.memory, patch);
    });
    const notices = how.own === undefined ? kind.repair(this.vcpus, this.memory, found) : [];
    if (marks.trouble !== undefined) {
      notices.push(
        `It can't be written down what is put into domain ${id} (${marks.trouble}): if hvsh is killed, nobody takes it out`,
      );
    }
    this.notices = notices;
    if (how.devices !== undefined && model !== undefined) {
      const hvm = found.kind === "hvm";
      const interrupts = this.interrupts = new DomainInterrupts(model, id, count, hvm);
      if (how.devices === "everything") void runner.strategy;
      else {
        const claims = {
          server: () => (runner.strategy as HvmStopper).server!,
          tryHold: () => runner.tryHold(),
        };
        this.claims = new DomainClaims(claims, hvm);
        if (hvm && how.pci !== undefined) {
          this.pci = new DomainPci({ ...claims, ...how.pci, domain: id, interrupts });
        }
      }
    }
    if (!pv) this.reports = { set: (wanted) => (runner.strategy as HvmStopper).setReports(wanted) };
    this.capabilities = how.capabilities(found.kind, pv ? 0 : control.monitorCapabilities(id));
    const terminal = store.read(terminalPath(found));
    if (terminal !== undefined && terminal !== "") {
      const opened = openConsole(terminal, (sentence) => void notices.push(sentence));
      if (opened !== undefined) this.console = cleanup.use(opened);
    }
    this.#resources = cleanup.move();
  }

  /** Empties guest-physical memory from 0 on; whole pages. */
  wipe(bytes: number): void {
    this.#frames.wipe(0, bytes / 4096);
  }

  /** Puts vCPUs and LAPICs back to where `startOver` first found them. @throws {UnsupportedError} */
  reset(): void {
    if (this.#pristine === undefined) {
      throw new UnsupportedError("reset", "a domain is reset by who made it", { remedy: "use `xl reboot`" });
    }
    this.startOver(this.#pristine);
  }

  /**
   * Takes the domain's state as that to start over from, or sets it.
   *
   * @param pristine What an earlier machine on the same domain had.
   */
  startOver(pristine?: Uint8Array<ArrayBuffer>): void {
    const { id } = this.domain;
    if (pristine === undefined) {
      this.#pristine = this.#control.getImage(id);
      return;
    }
    this.#pristine = pristine;
    const flags = readFlags(this.#control, id);
    this.#runner.holdAgain();
    if (flags !== undefined && (flags & XEN.XEN_DOMINF_shutdown) !== 0) this.#calls.resume(id);
    this.#runner.forget();
    for (const vcpu of this.vcpus) (vcpu as HvmVcpu).forget();
    this.#control.setImage(id, pristine);
  }

  keep(): void {
    if (this.#own === undefined) return;
    this.#kept = true;
    this.#own.forget();
  }

  #end(control: XenControl): void {
    if (this.#kept) return;
    const { id } = this.domain;
    const flags = readFlags(control, id);
    if (flags === undefined) this.#own!.forget();
    else if (stateOf(flags) === "dying" || this.#pristine === undefined) this.#own!.destroy();
    else {
      // Ours is taken back in a moment.
      control.pause(id);
      this.#own!.destroy(this.#pristine);
    }
  }

  /** Takes everything out of the domain that was put in, and lets it go on; ends one of our own. Idempotent. */
  close(): void {
    this.#resources.dispose();
  }
}

function wasPaused({ flags }: DomainRecord): boolean {
  return (flags & XEN.XEN_DOMINF_paused) !== 0;
}

/** Where xenstore tells the pseudo-terminal of a domain's console: COM1's, where there is a device model. */
export function terminalPath({ id, kind }: Pick<DomainRecord, "id" | "kind">): string {
  return `/local/domain/${id}/${kind === "hvm" ? "serial/0" : "console"}/tty`;
}

/** The first vCPU of a PV domain has a context once the domain is built: all that is looked at begins there. */
function needStarted(calls: DomainCalls, { id, name }: DomainRecord): void {
  if (calls.hasContext(id, 0)) return;
  throw new UnsupportedError(`attaching to ${name}`, "none of its vCPUs was ever brought up", {
    remedy: "wait until its toolstack has built it",
  });
}

function pvKind(control: XenControl, domain: DomainRecord, frames: FrameCache) {
  const { id } = domain;
  const count = () => readPages(control, id) ?? domain.pages;
  const p2m = new PhysicalToMachine({
    machineToPhysical: () => control.machineToPhysical(),
    limit: () => Math.max(count(), Number(control.maximumGpfn(id)) + 1),
    frameTypes: (list) => control.frameTypes(id, list),
    owns: (frame) => frames.page(frame) !== undefined,
  });
  const stopperParts = (vcpus: readonly XenVcpu[], memory: XenMemory): StopperParts => {
    const all = vcpus as readonly PvVcpu[];
    const pieces = linearPieces(all[0], memory);
    return {
      control,
      domain: id,
      uuid: domain.uuid,
      vcpus: all.length,
      read: (vcpu) => all[vcpu].findContext(),
      change: (vcpu, body) => all[vcpu].changeContext(body),
      readLinear: (at, into) => pieces(at, into, (gpa, part) => memory.read(gpa, part)),
      physical: (context, at) => {
        const { physicalOf } = p2m;
        const found = walk({ ...context.paging(), physicalOf }, at, (gpa, into) => memory.read(gpa, into));
        return found instanceof Promise || !found.ok ? undefined : found.gpa;
      },
      page: (gpa) => memory.page(gpa),
      writeLinear: (at, bytes) => void pieces(at, bytes, (gpa, part) => memory.write(gpa, part)),
    };
  };
  return {
    p2m,
    map: new PseudoFrames(p2m, count),
    strategy: (vcpus: readonly XenVcpu[], memory: XenMemory, marks: Marks): StopStrategy =>
      new PvStopper({ ...stopperParts(vcpus, memory), marks }),
    repair: (vcpus: readonly XenVcpu[], memory: XenMemory, domain: DomainRecord) =>
      repair({ control, domain, memory, pv: stopperParts(vcpus, memory) }, wasPaused(domain)),
    [Symbol.dispose]: () => p2m[Symbol.dispose](),
  };
}

interface HvmKindParts {
  readonly control: XenControl;
  readonly id: number;
  readonly frames: FrameCache;
  readonly foreign: ForeignMemory;
  readonly model: DeviceModel;
}

function hvmKind({ control, id, frames, foreign, model }: HvmKindParts, { devices, memory: ram }: AttachHow) {
  return {
    p2m: undefined,
    map: new GuestFrames(
      frames,
      () => ram === undefined ? Number(control.maximumGpfn(id)) : Math.ceil(ram / 4096) - 1,
    ),
    repair: (vcpus: readonly XenVcpu[], memory: XenMemory, domain: DomainRecord) =>
      repair(
        { control, domain, memory, hvm: { vcpus: vcpus as readonly HvmVcpu[], model, foreign } },
        wasPaused(domain),
      ),
    strategy: (vcpus: readonly XenVcpu[], memory: XenMemory, marks: Marks): StopStrategy => {
      const all = vcpus as readonly HvmVcpu[];
      const channels = new EventChannels();
      const common = { domain: id, vcpus: all.length, channels, marks };
      return new HvmStopper({
        channels,
        alone: all.length === 1,
        ...(devices !== undefined && {
          server: new IoreqServer({
            ...common,
            model,
            foreign,
            memory,
            everything: devices === "everything",
            rax: (vcpu) => all[vcpu].rax,
            rewind: (vcpu, port) => all[vcpu].rewind(port),
          }),
        }),
        monitor: () =>
          new Monitor({
            ...common,
            control,
            change: (vcpu, body) => all[vcpu].changeContext(body),
            setTrapFlag: (vcpu, on) => all[vcpu].setTrapFlag(on),
            general: (vcpu) => all[vcpu].general(),
          }),
      });
    },
  };
}

/** Goes through linear memory page by page, with a vCPU's tables as they are now; false where nothing is mapped. */
function linearPieces(vcpu: PvVcpu, memory: XenMemory) {
  return (at: bigint, bytes: Uint8Array, body: (gpa: bigint, part: Uint8Array) => void): boolean => {
    const { cr0, cr3, cr4, efer, physicalOf } = vcpu.paging();
    for (let done = 0; done < bytes.length;) {
      const here = at + BigInt(done);
      const found = walk({ cr0, cr3, cr4, efer, physicalOf }, here, (gpa, into) => memory.read(gpa, into));
      if (found instanceof Promise || !found.ok) return false;
      const part = Math.min(4096 - Number(here & 0xfffn), bytes.length - done);
      try {
        body(found.gpa, bytes.subarray(done, done + part));
      } catch (error) {
        if (error instanceof FaultError) return false;
        throw error;
      }
      done += part;
    }
    return true;
  };
}
