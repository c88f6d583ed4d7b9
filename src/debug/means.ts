import type { BackendVcpu, HardwareTrap, MaybePromise, RemoteBreakpoints } from "../vm/backend.ts";
import { then } from "../vm/promise.ts";
import type { Means } from "./breakpoint.ts";
import type { GuardedPages } from "./guarded_pages.ts";
import type { Patch, Patches, PatchKind } from "./patches.ts";
import type { Slots } from "./slots.ts";

/** Tells every vCPU what to report, after slots or patches changed. */
export class TrapSettings {
  readonly #vcpus: readonly BackendVcpu[];
  readonly #slots: Slots;
  readonly #patches: Patches;

  constructor(vcpus: readonly BackendVcpu[], slots: Slots, patches: Patches) {
    this.#vcpus = vcpus;
    this.#slots = slots;
    this.#patches = patches;
  }

  apply(): MaybePromise<void> {
    const patches = this.#patches;
    const traps = { hardware: [...this.#slots.traps], int3: patches.uses("int3"), out: patches.uses("out") };
    return this.#vcpus.reduce<MaybePromise<void>>(
      (done, vcpu) => then(done, () => vcpu.setTraps(traps)),
      undefined,
    );
  }
}

/** A debug register, on every vCPU. */
export class HardwareMeans implements Means {
  readonly how = "hardware";
  readonly #slots: Slots;
  readonly #settings: TrapSettings;
  readonly #trap: HardwareTrap;
  #slot = -1;

  constructor(slots: Slots, settings: TrapSettings, trap: HardwareTrap) {
    this.#slots = slots;
    this.#settings = settings;
    this.#trap = trap;
  }

  arm(): MaybePromise<void> {
    this.#slot = this.#slots.take(this.#trap);
    return this.#settings.apply();
  }

  disarm(): MaybePromise<void> {
    this.#slots.release(this.#slot);
    return this.#settings.apply();
  }
}

/** Bytes in the guest's code. */
export class PatchMeans implements Means {
  readonly how: PatchKind;
  readonly #patches: Patches;
  readonly #settings: TrapSettings;
  readonly #gpa: bigint;
  #patch: Patch | undefined;

  constructor(patches: Patches, settings: TrapSettings, gpa: bigint, kind: PatchKind) {
    this.how = kind;
    this.#patches = patches;
    this.#settings = settings;
    this.#gpa = gpa;
  }

  arm(): MaybePromise<void> {
    return then(this.#patches.insert(this.#gpa, this.how), (patch) => {
      this.#patch = patch;
      return this.#settings.apply();
    });
  }

  disarm(): MaybePromise<void> {
    const patch = this.#patch;
    if (patch === undefined) return;
    this.#patch = undefined;
    return then(this.#patches.release(patch), () => this.#settings.apply());
  }
}

/** A breakpoint that the other side of a remote protocol keeps. */
export class RemoteMeans implements Means {
  readonly how = "remote";
  readonly #breakpoints: RemoteBreakpoints;
  readonly #address: bigint;

  constructor(breakpoints: RemoteBreakpoints, address: bigint) {
    this.#breakpoints = breakpoints;
    this.#address = address;
  }

  arm(): MaybePromise<void> {
    return this.#breakpoints.insert(this.#address);
  }

  disarm(): MaybePromise<void> {
    return this.#breakpoints.remove(this.#address);
  }
}

/** Pages that the guest can't write. */
export class PageMeans implements Means {
  readonly how = "page";
  readonly #pages: GuardedPages;
  readonly #gpa: bigint;
  readonly #length: number;

  constructor(pages: GuardedPages, gpa: bigint, length: number) {
    this.#pages = pages;
    this.#gpa = gpa;
    this.#length = length;
  }

  arm(): MaybePromise<void> {
    return this.#pages.guard(this.#gpa, this.#length);
  }

  disarm(): MaybePromise<void> {
    return this.#pages.release(this.#gpa, this.#length);
  }
}

/** Nothing in the guest at all: the debugger only counts who asks for it. */
export class CountedMeans implements Means {
  readonly how: "step" | "exit";
  readonly #changed: (by: 1 | -1) => MaybePromise<void>;

  constructor(how: "step" | "exit", changed: (by: 1 | -1) => MaybePromise<void>) {
    this.how = how;
    this.#changed = changed;
  }

  arm(): MaybePromise<void> {
    return this.#changed(1);
  }

  disarm(): MaybePromise<void> {
    return this.#changed(-1);
  }
}
