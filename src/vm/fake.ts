/**
 * A backend without a hypervisor: it interprets the common integer instructions of x86 in 16-, 32- and 64-bit
 * code, with real-mode, protected-mode and paged memory, on any host. What it does not know is an
 * `internal-error` exit with the bytes, as from KVM. It exists so that everything above a backend can be
 * tested, and tried, where there is no `/dev/kvm`.
 */

import type { Backend, BackendOptions, Interrupts } from "./backend.ts";
import { need } from "./capabilities.ts";
import type { InterruptAcknowledge, InterruptLine } from "./device.ts";
import { InputError } from "./errors.ts";
import { FAKE_CAPABILITIES } from "./fake/capabilities.ts";
import { PhysicalMemory } from "./fake/physical.ts";
import { FakeVcpu } from "./fake/vcpu.ts";

const MAX_CPUS = 64;

/**
 * Makes a guest with its memory zeroed and its vCPUs at the reset vector.
 *
 * @throws {InputError} If memory, ROMs or the number of vCPUs make no sense.
 * @throws {UnsupportedError} If an interrupt controller or timer is asked for.
 */
export function createFake(options: BackendOptions): Backend {
  if (!Number.isInteger(options.cpus) || options.cpus < 1 || options.cpus > MAX_CPUS) {
    throw new InputError(`A guest has 1 to ${MAX_CPUS} vCPUs; got ${options.cpus}`, {
      remedy: "leave cpus out for one",
    });
  }
  if (options.irqchip) need(FAKE_CAPABILITIES, "irqchip");
  if (options.pit) need(FAKE_CAPABILITIES, "pit");
  const memory = new PhysicalMemory(options);
  const vcpus = Array.from({ length: options.cpus }, (_, i) => new FakeVcpu(i, memory));
  return {
    name: "fake",
    capabilities: FAKE_CAPABILITIES,
    vcpus,
    memory,
    interrupts: new FakeInterrupts(vcpus),
    reports: { set: (wanted) => vcpus.forEach((vcpu) => vcpu.report(wanted)) },
    reset() {
      for (const vcpu of vcpus) vcpu.reset();
    },
    close() {
      for (const vcpu of vcpus) vcpu.close();
      memory.close();
    },
  };
}

/**
 * Interrupt requests without a controller: an input that rises asks the first vCPU for its vector, once. The
 * request stays when the line falls, as in an 8259's request register.
 */
class FakeInterrupts implements Interrupts {
  readonly irqchip = false;
  readonly #vcpus: readonly FakeVcpu[];
  readonly #raised = new Set<number>();

  constructor(vcpus: readonly FakeVcpu[]) {
    this.#vcpus = vcpus;
  }

  line(gsi: number): InterruptLine {
    if (!Number.isInteger(gsi) || gsi < 0 || gsi > 15) {
      throw new InputError(`Interrupt inputs are 0 to 15; got ${gsi}`, { remedy: "take an ISA interrupt" });
    }
    const vector = gsi < 8 ? 0x08 + gsi : 0x70 + gsi - 8;
    return {
      raise: () => {
        if (this.#raised.has(gsi)) return;
        this.#raised.add(gsi);
        this.#vcpus[0].request(vector);
      },
      lower: () => void this.#raised.delete(gsi),
    };
  }

  wire(controller: InterruptAcknowledge | undefined): void {
    this.#vcpus[0].wire(controller);
  }

  pending(vcpu: number): boolean {
    return this.#at(vcpu).awake;
  }

  nmi(vcpu: number): void {
    this.#at(vcpu).nmi();
  }

  inject(vcpu: number, vector: number): void {
    if (!Number.isInteger(vector) || vector < 0 || vector > 255) {
      throw new InputError(`Interrupt vectors are 0 to 255; got ${vector}`, {
        remedy: "vectors from 32 on are free for devices",
      });
    }
    this.#at(vcpu).request(vector);
  }

  #at(index: number): FakeVcpu {
    const vcpu = this.#vcpus[index];
    if (vcpu === undefined) {
      throw new InputError(`There is no vCPU ${index}: they are 0 to ${this.#vcpus.length - 1}`, {
        remedy: "open the guest with more cpus",
      });
    }
    return vcpu;
  }
}
