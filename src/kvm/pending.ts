import type { InterruptAcknowledge } from "../vm/device.ts";
import { kvm_regs } from "./abi.ts";
import { AT, type RunPage } from "./run_page.ts";
import type { VcpuFd } from "./vcpu_fd.ts";

const RFLAGS = AT.regs / 8 + kvm_regs.offsets.rflags / 8;
const INTERRUPT_FLAG = 1n << 9n;

/** External interrupts that wait for a guest without an in-kernel irqchip to take them. */
export class PendingInterrupts {
  readonly #page: RunPage;
  readonly #fd: VcpuFd;
  readonly #vectors = new Set<number>();
  /** An interrupt controller of ours on INTR. */
  controller: InterruptAcknowledge | undefined;
  /** An NMI was sent since the last entry. */
  nmi = false;

  constructor(page: RunPage, fd: VcpuFd) {
    this.#page = page;
    this.#fd = fd;
  }

  /** Whether a vector waits. */
  get waiting(): boolean {
    return this.#vectors.size > 0 || this.controller?.requesting === true;
  }

  /** Whether a vector waits and the guest has interrupts on. */
  get takable(): boolean {
    return this.waiting && this.interruptsOn;
  }

  /** RFLAGS.IF. */
  get interruptsOn(): boolean {
    return (this.#page.words64[RFLAGS] & INTERRUPT_FLAG) !== 0n;
  }

  /** Queues a vector, once. */
  request(vector: number): void {
    this.#vectors.add(vector);
  }

  /** Forgets everything. */
  clear(): void {
    this.#vectors.clear();
    this.nmi = false;
    this.#page.bytes[AT.requestInterruptWindow] = 0;
    this.#page.bytes[AT.readyForInterrupt] = 0;
  }

  /**
   * Gives the guest a waiting interrupt if it can take one now, and else asks to be told when it can.
   *
   * @param allowed Whether the guest may take one at all.
   * @param asked Whether KVM said just now if the guest is ready.
   * @param give Delivers a vector; by KVM if left out.
   * @returns True if KVM has to be asked first, by an entry that runs nothing: it says so at exits only, and what it
   * said at the last one is old where registers were set since.
   */
  offer(
    allowed: boolean,
    asked: boolean,
    give: (vector: number) => void = (vector) => this.#fd.interrupt(vector),
  ): boolean {
    const { bytes } = this.#page;
    bytes[AT.requestInterruptWindow] = 0;
    if (!allowed) return false;
    const ready = bytes[AT.readyForInterrupt] !== 0;
    if (this.interruptsOn && !ready && !asked) return true;
    if (this.interruptsOn && ready) {
      const vector = this.#next();
      if (vector !== undefined) {
        give(vector);
        // KVM takes one at a time, and says at the next exit whether it can take another.
        bytes[AT.readyForInterrupt] = 0;
      }
    }
    bytes[AT.requestInterruptWindow] = this.waiting ? 1 : 0;
    return false;
  }

  /** Takes the next vector: what was asked for by number comes before what the controller has. */
  #next(): number | undefined {
    for (const vector of this.#vectors) {
      this.#vectors.delete(vector);
      return vector;
    }
    return this.controller?.requesting === true ? this.controller.acknowledge() : undefined;
  }
}
