import { signalled } from "../host/async_io.ts";
import { signalEventFd } from "../host/eventfd.ts";
import { monotonicMs } from "../host/clock.ts";
import { SliceTimer } from "../host/slice_timer.ts";
import type { Backend, BackendOptions } from "../vm/backend.ts";
import type { Capabilities } from "../vm/capabilities.ts";
import { HvshError, InputError } from "../vm/errors.ts";
import { chooseFeatures } from "../x86/cpu_choice.ts";
import { machineClosed } from "./closed.ts";
import { CAP } from "./abi.ts";
import { causeTable } from "./causes.ts";
import { cpuidFor, encodeCpuid, underHypervisor } from "./cpuid.ts";
import { KvmInterrupts } from "./interrupts.ts";
import { Mailbox } from "./mailbox.ts";
import { checkMemorySize, KvmMemory } from "./memory.ts";
import { KvmDoorbells } from "./doorbells.ts";
import { KvmParallel } from "./parallel.ts";
import { KVM_DEVICE, KvmSystem } from "./system.ts";
import { KvmVcpu } from "./vcpu.ts";
import { SLICE_MS } from "./vcpu_entry.ts";
import { VcpuFd } from "./vcpu_fd.ts";
import type { VcpuContext } from "./vcpu_groups.ts";
import { always, inEither, whileHung } from "./thread_choice.ts";
import { VcpuThread } from "./vcpu_thread.ts";
import { KvmVm } from "./vm.ts";

/** What KVM takes beside what every backend does. */
export interface KvmOptions extends BackendOptions {
  /** Path of KVM's device; `/dev/kvm` when left out. */
  readonly device?: string;
  /** Milliseconds of a time slice, where there is one vCPU; 5 when left out, so that the event loop lives. */
  readonly sliceMs?: number;
  /** The program of the vCPUs' threads, for tests: hvsh's own when left out. */
  readonly threadProgram?: URL;
  /**
   * Whether a single vCPU gets a thread when a doorbell is hung up. Left out: where KVM gives a guest its interrupts as
   * soon as it takes them, for else it has to be made leave again and again.
   */
  readonly threadOfOne?: boolean;
}

/** APIC ids have 8 bits, and the last is everybody (SDM vol. 3A, 11.6.2.1): as many as QEMU's PC may have. */
const MOST_CPUS = 255;

/** @throws {InputError} If the number of vCPUs makes no sense. */
function checkCpus(options: BackendOptions, most: number): void {
  const { cpus, irqchip, pit } = options;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > most) {
    throw new InputError(`A guest can't have ${cpus} vCPUs.`, { remedy: `Give 1 to ${most}.` });
  }
  if (cpus > 1 && !irqchip) {
    throw new InputError("Several vCPUs need interrupt controllers to start each other.", {
      remedy: "Open the guest with `irqchip: true`.",
    });
  }
  if (pit && !irqchip) {
    throw new InputError("The timer in the hypervisor needs the interrupt controllers there too.", {
      remedy: "Open the guest with `irqchip: true`, or with `pit: false`.",
    });
  }
}

/** A guest of our own on KVM. */
export class KvmBackend implements Backend, Disposable {
  readonly name = "kvm";
  readonly now = monotonicMs;
  readonly vcpus: readonly KvmVcpu[];
  readonly memory: KvmMemory;
  readonly interrupts: KvmInterrupts;
  /** Where vCPUs have threads: several do, and a single one while doorbells hang. */
  readonly parallel?: KvmParallel;
  readonly readable: (fd: number, come: () => void) => Disposable;
  /** Those of several vCPUs, or that of a single one once it was needed. */
  readonly #threads: VcpuThread[] = [];
  readonly #mailbox: Mailbox;
  readonly #vm: KvmVm;
  readonly #resources: DisposableStack;
  readonly #capabilities: () => Capabilities;
  #closed: Promise<void> | true | undefined;

  /**
   * Makes the guest: memory, images, vCPUs in their power-on state.
   *
   * @throws {UnsupportedError} If KVM can't be used here; carries reason and remedy.
   * @throws {InputError} If the options make no sense or do not fit this host.
   * @throws {HostError} If the host refuses something.
   */
  constructor(options: KvmOptions, capabilities: (device: string) => Capabilities) {
    const device = options.device ?? KVM_DEVICE;
    // Sizes first: what is wrong with them is wrong on every host.
    checkMemorySize(options.memory);
    using cleanup = new DisposableStack();
    const system = cleanup.use(KvmSystem.open(device));
    checkCpus(options, Math.max(1, Math.min(system.capability(CAP.MAX_VCPUS), MOST_CPUS)));
    // Disposal runs backwards: vCPUs, machine, and only then the memory that KVM has the addresses of.
    const memory = cleanup.use(new DisposableStack());
    this.#vm = cleanup.use(new KvmVm(system, options));
    this.memory = memory.use(
      new KvmMemory(options.memory, options.roms ?? [], (number, slot) => {
        // A slot is taken out and put in again: no vCPU may look at it meanwhile.
        this.parallel?.hold();
        this.#vm.setSlot(number, slot);
      }),
    );
    this.#vm.createChips();
    const timers = cleanup.use(new DisposableStack());
    let timer: SliceTimer | undefined;
    const cpuid = chooseFeatures(underHypervisor(system.supportedCpuid()), options.cpu ?? "host");
    const context: VcpuContext = {
      sliceMs: options.sliceMs ?? SLICE_MS,
      timer: () => {
        this.#vm.beforeFirstRun();
        return timer ??= timers.use(new SliceTimer());
      },
      mapSize: system.vcpuMapSize,
      irqchip: options.irqchip,
      interruptWaits: () => this.#vm.interruptWaits(),
      debugFlags: system.capability(CAP.SET_GUEST_DEBUG2),
      msrs: system.msrIndices(),
      capabilities: () => capabilities(device),
      memory: this.memory,
      filterMsrs: (indices) => this.#vm.filterMsrs(indices),
    };
    const mailbox = this.#mailbox = new Mailbox(options.cpus, signalEventFd);
    const causes = causeTable();
    const several = options.cpus > 1;
    // A single vCPU's interrupts have to be KVM's as well, and given to a guest that nobody makes leave.
    const seesWindows = () => capabilities(device).get("interrupt-windows")?.usable !== false;
    const wanted = () => several || (options.threadOfOne ?? seesWindows());
    const doorbells = options.irqchip && system.capability(CAP.IOEVENTFD) > 0
      ? cleanup.use(new KvmDoorbells(this.#vm, mailbox, causes, wanted))
      : undefined;
    this.vcpus = Array.from({ length: options.cpus }, (_, index) => {
      const fd = cleanup.use(new VcpuFd(this.#vm.createVcpu(index)));
      const start = () => {
        const descriptors = { fd: fd.fd, vm: this.#vm.fd, causes };
        const thread = new VcpuThread(mailbox, index, descriptors, options.threadProgram);
        this.#threads.push(thread);
        return thread;
      };
      const leaves = encodeCpuid(cpuidFor(cpuid, index, options.cpus));
      const threadOf = several ? always(start()) : doorbells && whileHung(doorbells, start);
      return cleanup.use(new KvmVcpu(index, fd, leaves, context, threadOf));
    });
    cleanup.defer(() => this.#threads.forEach((thread) => void thread.quit()));
    if (several || doorbells !== undefined) {
      this.parallel = new KvmParallel(mailbox, this.vcpus, doorbells, () => this.#up());
    }
    this.readable = doorbells === undefined
      ? signalled
      : several
      ? (fd, come) => doorbells.hear(fd, come)
      : (fd, come) => inEither(doorbells, fd, come);
    this.interrupts = new KvmInterrupts(this.#vm, this.vcpus);
    this.#capabilities = () => capabilities(device);
    this.#resources = cleanup.move();
  }

  /** What this host can do, found by tiny guests when it is first asked for. */
  get capabilities(): Capabilities {
    return this.#capabilities();
  }

  /**
   * Waits until its threads are up.
   *
   * @throws {HvshError} If one does not come up; the guest is closed then.
   */
  async ready(): Promise<void> {
    await this.#up();
    const reason = this.#threads.find(({ death }) => death !== undefined)?.death;
    if (reason === undefined) return;
    await this.close();
    throw new HvshError(`The guest's vCPUs can't run: ${reason}`, {
      remedy: "Several vCPUs need a thread each: Deno has to be allowed to read hvsh's files.",
    });
  }

  /** Resolves when its threads are up, or have ended. */
  async #up(): Promise<void> {
    while (this.#threads.some(({ up, death }) => !up && death === undefined)) {
      await this.#mailbox.waitAsync(this.#mailbox.bell, 10);
    }
  }

  reset(): void {
    if (this.#closed !== undefined) throw machineClosed();
    this.parallel?.hold();
    for (const vcpu of this.vcpus) vcpu.reset();
    this.#vm.resetChips();
  }

  /**
   * Closes vCPUs, then the machine, then detaches and unmaps its memory. Doing it twice is harmless. What it gives
   * resolves when its threads, if it has any, are gone; all else is done at once.
   */
  close(): void | Promise<void> {
    if (this.#closed === undefined) {
      this.parallel?.hold();
      const gone = this.#threads.map((thread) => thread.quit());
      this.#closed = gone.length === 0 ? true : Promise.all(gone).then(() => undefined);
      this.#resources.dispose();
    }
    if (this.#closed !== true) return this.#closed;
  }

  [Symbol.dispose](): void {
    // Threads that are told to end do so by themselves.
    void this.close();
  }
}
