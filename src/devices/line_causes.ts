import type { InterruptCauses, InterruptLine } from "../vm/device.ts";

/** Why a device interrupts, kept by itself: its line is high while a bit is set. */
export class LineCauses implements InterruptCauses {
  readonly #line: InterruptLine;
  #bits = 0;

  /** @param line Where it interrupts. */
  constructor(line: InterruptLine) {
    this.#line = line;
  }

  get bits(): number {
    return this.#bits;
  }

  raise(bits: number): void {
    this.#bits |= bits;
    if (this.#bits !== 0) this.#line.raise();
  }

  acknowledge(bits: number): void {
    this.#bits &= ~bits;
    if (this.#bits === 0) this.#line.lower();
  }
}
