/**
 * vCPUs of a PV domain that stand still while another one is stepped. Xen has no pause for one vCPU; but one whose context
 * is set without VGCF_online is down (arch_set_info_guest of Xen's domain.c), and goes on where it was once it is set with
 * it. Not for HVM: there a context that is set ends what Xen emulates for the vCPU (hvmemul_cancel).
 */

import type { GuestContext } from "./guest_context.ts";
import type { Marks } from "./marks.ts";

/** What it needs of the domain. */
export interface OthersParts {
  readonly vcpus: number;
  /** A vCPU's context now; undefined if the guest never brought it up. */
  read(vcpu: number): GuestContext | undefined;
  change(vcpu: number, body: (context: GuestContext) => void): void;
  /** Where it is written down which are down. */
  readonly marks?: Marks;
}

/** The others. */
export class Others {
  readonly #parts: OthersParts;
  #down: readonly number[] = [];

  /** @param down Those that a debugger which is no more left down. */
  constructor(parts: OthersParts, down: readonly number[] = []) {
    this.#parts = parts;
    this.#down = down;
  }

  /** Whether a vCPU was taken down. */
  holds(vcpu: number): boolean {
    return this.#down.includes(vcpu);
  }

  /** Takes every vCPU down but one. The domain is paused. */
  hold(stepped: number): void {
    if (this.#parts.vcpus === 1) return;
    this.letGo();
    const { vcpus, read, change, marks } = this.#parts;
    const up = Array.from({ length: vcpus }, (_, vcpu) => vcpu)
      .filter((vcpu) => vcpu !== stepped && read(vcpu)?.online === true);
    // Written down before they are: once too often does no harm.
    marks?.down(up);
    this.#down = up;
    for (const vcpu of up) change(vcpu, (context) => context.setOnline(false));
  }

  /** Brings up those that were taken down. The domain is paused. */
  letGo(): void {
    if (this.#down.length === 0) return;
    const { change, marks } = this.#parts;
    for (const vcpu of this.#down) change(vcpu, (context) => context.setOnline(true));
    this.#down = [];
    marks?.down([]);
  }
}
