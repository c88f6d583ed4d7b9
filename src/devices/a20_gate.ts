/**
 * Address line 20's gate: port 0x92 and the keyboard controller's output port both drive it, and whoever wrote last
 * has it, as on QEMU's PC. Both registers show what it is.
 *
 * Documentation: IBM PS/2 Hardware Interface Technical Reference, "System Control Port A (Hex 0092)"; QEMU,
 * hw/i386/x86.c (`handle_a20_line_change`).
 */

/** Closed, the processor's addresses lose bit 20: the second megabyte is the first one again. */
export class A20Gate {
  readonly #onChange: (open: boolean) => void;
  readonly #followers: ((open: boolean) => void)[] = [];
  #open = true;

  /** @param onChange The gate was opened or closed. */
  constructor(onChange: (open: boolean) => void = () => {}) {
    this.#onChange = onChange;
  }

  /** Whether addresses keep bit 20. */
  get open(): boolean {
    return this.#open;
  }

  /** Opens or closes it. */
  set(open: boolean): void {
    if (open === this.#open) return;
    this.#open = open;
    for (const follow of this.#followers) follow(open);
    this.#onChange(open);
  }

  /** Calls `follow` with every change, for a register that shows it. */
  register(follow: (open: boolean) => void): void {
    this.#followers.push(follow);
  }
}
