import type { MaybePromise } from "../vm/backend.ts";
import type { AccessHit, Breakpoint, BreakpointHow, BreakpointOptions, Condition } from "../vm/breakpoint.ts";

/** The way a breakpoint is held in the guest: put in, and taken out again without a trace. */
export interface Means {
  readonly how: BreakpointHow;
  arm(): MaybePromise<void>;
  disarm(): MaybePromise<void>;
}

/** Where a breakpoint is, and in whose address space. */
export interface Place {
  /** As it was given; keeps its brand. */
  readonly address: bigint;
  readonly space: Breakpoint["space"];
  readonly access: Breakpoint["access"];
  readonly size: bigint;
  /** Where it lies in guest-physical memory, for means that work there. */
  readonly gpa?: bigint;
}

/** A breakpoint's whole state. Means and conditions are judged elsewhere. */
export class ManagedBreakpoint implements Breakpoint {
  readonly id: number;
  readonly address: bigint;
  /** The address without its brand. */
  readonly at: bigint;
  readonly space: Breakpoint["space"];
  readonly access: Breakpoint["access"];
  readonly size: bigint;
  readonly once: boolean;
  readonly gpa?: bigint;
  readonly vcpu?: number;
  readonly cr3?: bigint;
  condition: Condition | ((access: AccessHit) => boolean | Promise<boolean>) | undefined;
  ignore: number;
  hits = 0;
  matches = 0;
  /** Which direction of an access break stops. */
  readonly direction?: "read" | "write";
  readonly #means: Means;
  readonly #forget: (breakpoint: ManagedBreakpoint) => void;
  #enabled = false;
  #removed = false;
  /** Ends when the newest change is done, or has failed. */
  #changing: Promise<void> = Promise.resolve();

  constructor(
    id: number,
    place: Place,
    means: Means,
    options: Pick<BreakpointOptions, "once" | "ignore" | "vcpu" | "cr3"> & {
      condition?: ManagedBreakpoint["condition"];
      direction?: "read" | "write";
    },
    forget: (breakpoint: ManagedBreakpoint) => void,
  ) {
    this.id = id;
    this.address = place.address;
    this.at = BigInt.asUintN(64, place.address);
    this.space = place.space;
    this.access = place.access;
    this.size = place.size;
    this.once = options.once ?? false;
    this.ignore = options.ignore ?? 0;
    this.condition = options.condition;
    if (place.gpa !== undefined) this.gpa = place.gpa;
    if (options.vcpu !== undefined) this.vcpu = options.vcpu;
    if (options.cr3 !== undefined) this.cr3 = options.cr3;
    if (options.direction !== undefined) this.direction = options.direction;
    this.#means = means;
    this.#forget = forget;
  }

  get how(): BreakpointHow {
    return this.#means.how;
  }

  get enabled(): boolean {
    return this.#enabled;
  }

  /** Whether [address, address + length) touches what is watched. */
  covers(address: bigint, length: number | bigint): boolean {
    return this.at < address + BigInt(length) && address < this.at + this.size;
  }

  enable(on: boolean): Promise<void> {
    return this.#inTurn(() => this.#switch(on));
  }

  remove(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#removed) return;
      await this.#switch(false);
      this.#removed = true;
      this.#forget(this);
    });
  }

  /** One change after the other: two at once would put the guest's bytes back wrongly. */
  #inTurn(change: () => Promise<void>): Promise<void> {
    const done = this.#changing.then(change);
    this.#changing = done.catch(() => undefined);
    return done;
  }

  async #switch(on: boolean): Promise<void> {
    if (this.#removed || on === this.#enabled) return;
    if (on) await this.#means.arm();
    else await this.#means.disarm();
    this.#enabled = on;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.remove();
  }
}
