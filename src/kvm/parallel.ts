import type { Arrival, BackendVcpu, ParallelVcpus } from "../vm/backend.ts";
import type { KvmDoorbells } from "./doorbells.ts";
import type { Mailbox } from "./mailbox.ts";
import type { KvmVcpu } from "./vcpu.ts";

/** The vCPUs of a machine that each have a thread, run at the same time; one alone has it where that pays. */
export class KvmParallel implements ParallelVcpus {
  readonly #mailbox: Mailbox;
  readonly #vcpus: readonly KvmVcpu[];
  readonly doorbells?: KvmDoorbells;
  /** Resolves when every thread is up, or has ended. */
  readonly ready: () => Promise<void>;
  /** Where the search for one that has come back begins: no vCPU that leaves often keeps the others waiting. */
  #first = 0;

  constructor(
    mailbox: Mailbox,
    vcpus: readonly KvmVcpu[],
    doorbells: KvmDoorbells | undefined,
    ready: () => Promise<void>,
  ) {
    this.#mailbox = mailbox;
    this.#vcpus = vcpus;
    this.ready = ready;
    if (doorbells !== undefined) this.doorbells = doorbells;
  }

  get threaded(): boolean {
    return this.#vcpus.length > 1 || this.#vcpus[0].apart;
  }

  start(vcpu: BackendVcpu): void {
    this.#vcpus[vcpu.index].launch();
  }

  next(ms: number): Arrival | undefined {
    const heard = this.#mailbox.bell;
    const found = this.#look();
    if (found !== undefined || ms <= 0) return found;
    this.#bells.wait(heard, ms);
    return this.#look();
  }

  async arrival(ms: number): Promise<void> {
    const heard = this.#mailbox.bell;
    if (this.#vcpus.some((vcpu) => vcpu.launched && vcpu.back)) return;
    await this.#bells.waitAsync(heard, ms);
  }

  wake(): void {
    this.#mailbox.ring();
  }

  hold(): void {
    for (const vcpu of this.#vcpus) if (vcpu.launched) vcpu.kick();
    for (const vcpu of this.#vcpus) vcpu.park();
  }

  /** What is waited for: the vCPUs' threads, and doorbells where there are such. */
  get #bells(): Pick<Mailbox, "wait" | "waitAsync"> {
    return this.doorbells?.audible ? this.doorbells : this.#mailbox;
  }

  #look(): Arrival | undefined {
    const count = this.#vcpus.length;
    for (let i = 0; i < count; i++) {
      const vcpu = this.#vcpus[(this.#first + i) % count];
      if (!vcpu.launched || !vcpu.back) continue;
      this.#first = (vcpu.index + 1) % count;
      return { vcpu, exit: vcpu.collect() };
    }
    return undefined;
  }
}
