import { monotonicMs } from "../host/clock.ts";
import { SliceTimer } from "../host/slice_timer.ts";
import type { Backend, BackendOptions } from "../vm/backend.ts";
import type { Capabilities } from "../vm/capabilities.ts";
import { InputError } from "../vm/errors.ts";
import { machineClosed } from "./closed.ts";
import { CAP } from "./abi.ts";
import { cpuidFor, encodeCpuid } from "./cpuid.ts";
import { KvmInterrupts } from "./interrupts.ts";
import { checkMemorySize, KvmMemory } from "./memory.ts";
import { KVM_DEVICE, KvmSystem } from "./system.ts";
import { KvmVcpu } from "./vcpu.ts";
import { VcpuFd } from "./vcpu_fd.ts";
import type { VcpuContext } from "./vcpu_groups.ts";
import { type ChipState, KvmVm } from "./vm.ts";

/** What KVM takes beside what every backend does. */
export interface KvmOptions extends BackendOptions {
  /** Path of KVM's device; `/dev/kvm` when left out. */
  readonly device?: string;
}

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
  readonly #vm: KvmVm;
  readonly #resources: DisposableStack;
  readonly #chips: ChipState;
  readonly #capabilities: () => Capabilities;
  #closed = false;

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
    checkCpus(options, Math.max(1, system.capability(CAP.MAX_VCPUS)));
    // Disposal runs backwards: vCPUs, machine, and only then the memory that KVM has the addresses of.
    const memory = cleanup.use(new DisposableStack());
    this.#vm = cleanup.use(new KvmVm(system, { irqchip: options.irqchip, pit: options.pit }));
    this.memory = memory.use(
      new KvmMemory(options.memory, options.roms ?? [], (number, slot) => this.#vm.setSlot(number, slot)),
    );
    this.#vm.createChips();
    const timer = cleanup.use(new SliceTimer());
    const cpuid = system.supportedCpuid();
    const context: VcpuContext = {
      timer,
      mapSize: system.vcpuMapSize,
      irqchip: options.irqchip,
      debugFlags: system.capability(CAP.SET_GUEST_DEBUG2),
      msrs: system.msrIndices(),
      capabilities: () => capabilities(device),
      memory: this.memory,
      filterMsrs: (indices) => this.#vm.filterMsrs(indices),
    };
    this.vcpus = Array.from({ length: options.cpus }, (_, index) => {
      const fd = cleanup.use(new VcpuFd(this.#vm.createVcpu(index)));
      return cleanup.use(new KvmVcpu(index, fd, encodeCpuid(cpuidFor(cpuid, index, options.cpus)), context));
    });
    this.interrupts = new KvmInterrupts(this.#vm, this.vcpus);
    this.#chips = this.#vm.saveChips();
    this.#capabilities = () => capabilities(device);
    this.#resources = cleanup.move();
  }

  /** What this host can do, found by tiny guests when it is first asked for. */
  get capabilities(): Capabilities {
    return this.#capabilities();
  }

  reset(): void {
    if (this.#closed) throw machineClosed();
    for (const vcpu of this.vcpus) vcpu.reset();
    this.#vm.restoreChips(this.#chips);
  }

  /** Closes vCPUs, then the machine, then detaches and unmaps its memory. Doing it twice is harmless. */
  close(): void {
    this.#closed = true;
    this.#resources.dispose();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
