/** What of an HVM or PVH domain comes to devices of ours, where there are others: it is claimed at an ioreq server. */

import { ERRNO } from "../abi/errno.ts";
import { HostError } from "../host/error.ts";
import type { BackendPci } from "../vm/backend.ts";
import type { BusClaims } from "../vm/bus.ts";
import type { InterruptLine } from "../vm/device.ts";
import { InputError } from "../vm/errors.ts";
import type { DomainInterrupts } from "./interrupts.ts";
import type { IoreqServer } from "./ioreq_server.ts";

/** Ports of QEMU's host bridge. */
const PCI_PORTS = { first: 0xcf8n, last: 0xcffn };

/** Which slots of bus 0 the device model of a domain has. */
export type TakenSlots = (domain: number) => Promise<ReadonlySet<number>>;

/** What claims need of the domain. */
export interface ClaimParts {
  /** The server, made for the first claim. The domain is paused. */
  server(): IoreqServer;
  /** Pauses the domain, and says whether it is there still: its server goes with it. */
  tryHold(): boolean;
}

/** Ports and addresses. */
export class DomainClaims implements BusClaims {
  readonly #parts: ClaimParts;
  readonly #bridge: boolean;

  /** @param bridge Whether QEMU has a host bridge: its ports stay its own, and Xen tells who has the function. */
  constructor(parts: ClaimParts, bridge: boolean) {
    this.#parts = parts;
    this.#bridge = bridge;
  }

  claim(space: "port" | "mmio", first: bigint, last: bigint): void {
    if (this.#isBridge(space, first, last)) return;
    try {
      this.#parts.server().claim(space, first, last);
    } catch (error) {
      // A range of a device's is told from others before; a guest may move one there.
      if (!(error instanceof HostError && error.errno === ERRNO.EEXIST)) throw error;
      throw new InputError(
        `${space} 0x${first.toString(16)} to 0x${last.toString(16)} has one of the debugger's own`,
        {
          cause: error,
          remedy: "choose another range",
        },
      );
    }
  }

  release(space: "port" | "mmio", first: bigint, last: bigint): void {
    if (this.#isBridge(space, first, last) || !this.#parts.tryHold()) return;
    this.#parts.server().unclaim(space, first, last);
  }

  #isBridge(space: "port" | "mmio", first: bigint, last: bigint): boolean {
    return this.#bridge && space === "port" && first >= PCI_PORTS.first && last <= PCI_PORTS.last;
  }
}

/** What PCI functions of ours need beside QEMU's. */
export interface PciParts extends ClaimParts {
  readonly domain: number;
  readonly interrupts: Pick<DomainInterrupts, "pin">;
  readonly taken: TakenSlots;
  /** Whether no firmware runs that gives functions their addresses. */
  readonly configured: boolean;
}

/** Slots of QEMU's bus 0. */
export class DomainPci implements BackendPci {
  readonly configured: boolean;
  readonly #parts: PciParts;

  constructor(parts: PciParts) {
    this.configured = parts.configured;
    this.#parts = parts;
  }

  taken(): Promise<ReadonlySet<number>> {
    return this.#parts.taken(this.#parts.domain);
  }

  claim(slot: number): void {
    this.#parts.server().claimFunction(slot, 0);
  }

  release(slot: number): void {
    if (this.#parts.tryHold()) this.#parts.server().unclaimFunction(slot, 0);
  }

  line(slot: number, pin: number): InterruptLine {
    return this.#parts.interrupts.pin(slot, pin);
  }
}
