import type { Traps } from "../vm/backend.ts";
import { FLAG } from "./abi.ts";
import { checkTraps, encodeGuestDebug } from "./debug.ts";

/** Debug modes as a number, so that comparing is all that happens when nothing changed. */
export const MODE = { run: 0, step: 1, blockInterrupts: 2, execute: 4, unknown: -1 } as const;

/** What a vCPU reports to the debugger in each mode. */
export class DebugModes {
  /** The mode that KVM was told last. */
  now: number = MODE.run;
  readonly #flags: number;
  #traps: Traps = { hardware: [], int3: false };
  /** `struct kvm_guest_debug` by mode, for the present traps: a breakpoint passed over takes two of them. */
  readonly #encoded: Uint8Array<ArrayBuffer>[] = [];

  /** @param flags KVM_GUESTDBG_* flags that this host takes. */
  constructor(flags: number) {
    this.#flags = flags;
  }

  /** Sets what is reported; KVM has to be told anew. @throws {RangeError} If the debug registers can't hold it. */
  set traps(traps: Traps) {
    checkTraps(traps);
    this.#traps = { hardware: [...traps.hardware], int3: traps.int3 };
    this.#encoded.length = 0;
    this.now = MODE.unknown;
  }

  /** What KVM_SET_GUEST_DEBUG takes for a mode. */
  encode(mode: number): Uint8Array<ArrayBuffer> {
    return this.#encoded[mode] ??= this.#encode(mode);
  }

  #encode(mode: number): Uint8Array<ArrayBuffer> {
    const step = mode !== MODE.run;
    return encodeGuestDebug(this.#traps, {
      singleStep: step,
      blockInterrupts: (mode & MODE.blockInterrupts) !== 0 && (this.#flags & FLAG.GUESTDBG_BLOCKIRQ) !== 0,
      armed: { data: true, execute: !step || (mode & MODE.execute) !== 0 },
      int3: !step || (mode & MODE.execute) !== 0,
    });
  }
}
