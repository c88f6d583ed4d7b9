import type { RegisterName, Registers } from "../vm/registers.ts";
import { powerOn } from "../x86/boot/state.ts";
import { decodeExtended, snapshot } from "./registers.ts";

const NO_STATE = new Uint8Array();
const NO_FPU = new Uint8Array(512);

/**
 * The registers of a vCPU that waits to be started: those of INIT (SDM vol. 3A, table 10-1). Xen has none for it, and SIPI
 * sets them anew: what is set meanwhile is kept here, and seen here alone.
 */
export class NotStarted {
  readonly #values = new Map(Object.entries(powerOn()) as [RegisterName, bigint][]);

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
