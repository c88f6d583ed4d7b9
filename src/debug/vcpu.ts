import type { Backend, BackendVcpu, VcpuEvents } from "../vm/backend.ts";
import { checkRegisterValues } from "../vm/check.ts";
import { StateError } from "../vm/errors.ts";
import type { Vcpu } from "../vm/machine.ts";
import type { Registers, RegisterValues } from "../vm/registers.ts";
import { PagedMemory } from "./linear_memory.ts";
import type { HiddenMemory } from "./memory.ts";

/** A vCPU as users see it: refuses while the guest runs, then passes on. */
export class ManagedVcpu implements Vcpu {
  readonly index: number;
  readonly memory: PagedMemory;
  readonly #backend: BackendVcpu;
  readonly #ready: () => void;

  /** @param ready Throws a StateError unless the machine stands still. */
  constructor(backend: Backend, index: number, physical: HiddenMemory, ready: () => void) {
    this.index = index;
    this.#backend = backend.vcpus[index];
    this.#ready = ready;
    this.memory = new PagedMemory(() => this.#backend.registers(), physical);
  }

  registers(): Promise<Registers> {
    try {
      // Asked after every step of a script's loop: one promise, and no turn of the queue more than it takes.
      return Promise.resolve(this.#still().registers());
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async setRegisters(values: RegisterValues): Promise<void> {
    checkRegisterValues(values);
    await this.#still().setRegisters(values);
  }

  async msrs(): Promise<readonly number[]> {
    return await this.#still().msrs();
  }

  async readMsr(index: number): Promise<bigint> {
    return await this.#still().readMsr(index);
  }

  async writeMsr(index: number, value: bigint): Promise<void> {
    await this.#still().writeMsr(index, value);
  }

  async lapic(): Promise<Uint8Array> {
    return await this.#still().lapic();
  }

  async setLapic(page: Uint8Array): Promise<void> {
    await this.#still().setLapic(page);
  }

  async trapTable(): Promise<Uint8Array | undefined> {
    return await this.#still().trapTable?.();
  }

  async events(): Promise<VcpuEvents> {
    return await this.#still().events();
  }

  async setEvents(events: Partial<VcpuEvents>): Promise<void> {
    await this.#still().setEvents(events);
  }

  async xsave(): Promise<Uint8Array> {
    return await this.#still().xsave();
  }

  async setXsave(area: Uint8Array): Promise<void> {
    await this.#still().setXsave(area);
  }

  async injectException(vector: number, errorCode?: number): Promise<void> {
    await this.#still().injectException(vector, errorCode);
  }

  #still(): BackendVcpu {
    this.#ready();
    return this.#backend;
  }
}

/** The error of a call that the machine's state does not allow. */
export function notNow(state: "running" | "closed", what: string): StateError {
  return state === "running"
    ? new StateError(`${what}: the guest is running`, "running", {
      remedy: "pause() it first, or await its stop",
    })
    : new StateError(`${what}: the machine is closed`, "closed", { remedy: "open() another one" });
}
