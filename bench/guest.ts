/** The guests of the benchmarks: a few instructions in real mode, given to hvsh and to the C twins alike. */

import { flat, MiB, open } from "../mod.ts";
import { hex } from "./twin.ts";

const MEMORY = MiB(16);
const AT = 0x1000;

/** A guest's code. */
export interface Code {
  readonly bytes: Uint8Array;
  /** Whether interrupt controllers and timer are in the kernel; as `open()` has it when left out: they are. */
  readonly irqchip?: boolean;
}

/** Opens it with hvsh, in the most ordinary way. */
export function openGuest({ bytes, irqchip }: Code) {
  return open({
    backend: "kvm",
    memory: MEMORY,
    boot: flat(bytes, { at: AT }),
    ...(irqchip !== undefined && { irqchip }),
  });
}

/** The settings with which a twin opens the same guest. */
export function twinSettings({ bytes, irqchip = true }: Code): Record<string, string | number> {
  return { memory: MEMORY, irqchip: irqchip ? 1 : 0, at: AT, code: hex(bytes) };
}

/** A loop of six instructions: inc ax; add bx, ax; mov cx, bx; push cx; pop dx; jmp. */
export const STEPPED = Uint8Array.of(0x40, 0x01, 0xc3, 0x89, 0xd9, 0x51, 0x5a, 0xeb, 0xf7);

/** The port of the latch in `LATCH`. */
export const LATCH_PORT = 0x5a0;
/** mov dx, 0x5a0; then for ever: in al, dx; inc ax; out dx, al. */
export const LATCH = Uint8Array.of(0xba, LATCH_PORT & 0xff, LATCH_PORT >> 8, 0xec, 0x40, 0xee, 0xeb, 0xfb);

/** For ever: inc ax; add bx, ax. */
export const COUNTED = Uint8Array.of(0x40, 0x01, 0xc3, 0xeb, 0xfb);
/** Linear address of `add bx, ax` in `COUNTED`. */
export const BREAK_AT = AT + 1;
