import type { Backend } from "../vm/backend.ts";
import { need } from "../vm/capabilities.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { MachineInterrupts } from "../vm/machine.ts";
import type { InterruptInputs } from "./interrupt_inputs.ts";

/** The last input of the I/O APIC: 0 to 15 are the ISA interrupts too. */
const LAST_INPUT = 23;

/** What `vm.interrupts` needs of its machine. */
export interface InterruptsParts {
  readonly backend: Pick<Backend, "capabilities" | "interrupts">;
  readonly inputs: InterruptInputs;
  /** The index, if there is a vCPU of that index. @throws {InputError} If not. */
  checkVcpu(index: number): number;
}

/** Interrupts and NMIs from outside: `vm.interrupts`. */
export class GuestInterrupts implements MachineInterrupts {
  readonly #parts: InterruptsParts;

  constructor(parts: InterruptsParts) {
    this.#parts = parts;
  }

  async pulse(gsi: number): Promise<void> {
    await this.set(gsi, true);
    await this.set(gsi, false);
  }

  // deno-lint-ignore require-await -- what is refused rejects
  async set(gsi: number, level: boolean): Promise<void> {
    const { backend, inputs } = this.#parts;
    need(backend.capabilities, "interrupts");
    if (!Number.isInteger(gsi) || gsi < 0 || gsi > LAST_INPUT) {
      throw new InputError(
        `there is no interrupt input ${gsi}: 0 to 15 are the ISA interrupts, 16 to ${LAST_INPUT} the IOAPIC's`,
        { remedy: "take one of these" },
      );
    }
    this.#controller();
    if (!inputs.leads(gsi)) {
      throw new UnsupportedError(`interrupt input ${gsi}`, "no controller of this machine has it", {
        remedy: "add a device that is one, such as new IoApic(), or send a message to the local APIC",
      });
    }
    const line = inputs.line(gsi);
    if (level) line.raise();
    else line.lower();
  }

  async nmi(vcpu = 0): Promise<void> {
    need(this.#parts.backend.capabilities, "nmi");
    await this.#controller().nmi(this.#parts.checkVcpu(vcpu));
  }

  #controller(): NonNullable<Backend["interrupts"]> {
    const { interrupts } = this.#parts.backend;
    if (interrupts === undefined) throw new UnsupportedError("interrupts", "this backend can't raise any");
    return interrupts;
  }
}
