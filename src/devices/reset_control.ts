/** The reset control register at port 0xcf9, which lies inside the PCI configuration ports. */

/** Reset CPU: a reset happens when it goes from 0 to 1. */
const RESET_CPU_BIT = 0x04;
/** System (hard) instead of CPU reset. */
const SYSTEM_RESET_BIT = 0x02;

/** Intel 82371SB (PIIX3), 2.5.5.5 "RC - Reset Control Register". */
export class ResetControl {
  /** Bits 2:1. */
  value = 0;
  readonly #onReset: (() => void) | undefined;

  /** @param onReset The guest asked for a reset. */
  constructor(onReset?: () => void) {
    this.#onReset = onReset;
  }

  /** The guest writes. */
  write(value: number): void {
    const risen = value & ~this.value & RESET_CPU_BIT;
    this.value = value & (RESET_CPU_BIT | SYSTEM_RESET_BIT);
    if (risen) this.#onReset?.();
  }
}
