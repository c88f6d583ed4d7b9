import type { RegisterName, Registers } from "../vm/registers.ts";
import { powerOn } from "../x86/boot/state.ts";
import { decodeExtended, snapshot } from "./registers.ts";

const NO_STATE = new Uint8Array();
const NO_FPU = new Uint8Array(512);

/**
 * The registers of a vCPU that waits to be started. Xen has none for it, and whoever starts it sets them anew: what is set
 * meanwhile is kept here, and seen here alone.
 */
export class NotStarted {
  readonly #values: Map<RegisterName, bigint>;

  /** @param pv Of a PV guest's vCPU, they are zeros; else those of INIT (SDM vol. 3A, table 10-1). */
  constructor(pv = false) {
    this.#values = new Map(pv ? [] : Object.entries(powerOn()) as [RegisterName, bigint][]);
  }

  /** As they are now. */
  registers(): Registers {
    return snapshot({
      values: new Map(this.#values),
      extended: () => decodeExtended(NO_STATE, NO_FPU),
      fresh: () => true,
    });
  }

  set(values: readonly (readonly [RegisterName, bigint])[]): void {
    for (const [name, value] of values) this.#values.set(name, value);
  }
}
