import type { Registers, RegisterValues } from "../vm/registers.ts";

/** What entering an interrupt handler of real mode changes. */
export interface RealInterrupt {
  /** Registers afterwards. */
  readonly registers: RegisterValues;
  /** Linear address of what is pushed. */
  readonly at: bigint;
  /** IP, CS and FLAGS, as they lie on the stack. */
  readonly frame: Uint8Array<ArrayBuffer>;
}

/** TF, IF, RF and AC: off in the handler (SDM vol. 2, INT n, REAL-ADDRESS-MODE). */
const CLEARED = (1n << 8n) | (1n << 9n) | (1n << 16n) | (1n << 18n);
const FRAME_BYTES = 6n;

/**
 * What an interrupt does in real mode (SDM vol. 3B, 21.1.4): FLAGS, CS and IP are pushed, and CS:IP comes from the
 * interrupt vector table.
 *
 * @param registers Of now, CR0.PE = 0.
 * @param vector 0 to 255.
 * @param returnTo IP that the handler returns to.
 * @param read Reads linear memory, which is physical memory in this mode.
 * @returns `undefined` where the processor would raise an exception instead, which is left to it.
 */
export function realInterrupt(
  registers: Registers,
  vector: number,
  returnTo: bigint,
  read: (at: bigint, length: number) => Uint8Array,
): RealInterrupt | undefined {
  const { rsp, rflags, cs, idtr_base, idtr_limit, ss_base } = registers;
  const sp = rsp & 0xffffn;
  if (BigInt(4 * vector + 3) > idtr_limit || sp < FRAME_BYTES) return undefined;
  const entry = read(idtr_base + BigInt(4 * vector), 4);
  const frame = new Uint8Array(Number(FRAME_BYTES));
  const view = new DataView(frame.buffer);
  view.setUint16(0, Number(returnTo & 0xffffn), true);
  view.setUint16(2, Number(cs), true);
  view.setUint16(4, Number(rflags & 0xffffn), true);
  const selector = BigInt(entry[2] | (entry[3] << 8));
  return {
    at: ss_base + sp - FRAME_BYTES,
    frame,
    registers: {
      rip: BigInt(entry[0] | (entry[1] << 8)),
      cs: selector,
      cs_base: selector << 4n,
      rsp: rsp - FRAME_BYTES,
      rflags: rflags & ~CLEARED,
    },
  };
}

/** OF, which INTO looks at. */
const OVERFLOW = 1n << 11n;

/** The vector and length of INT n, INT3, INT1 and INTO; `undefined` for other instructions, and INTO without overflow. */
export function interruptInstruction(
  code: Uint8Array,
  rflags: bigint,
): { readonly vector: number; readonly length: bigint } | undefined {
  switch (code[0]) {
    case 0xcc:
      return { vector: 3, length: 1n };
    case 0xcd:
      return { vector: code[1], length: 2n };
    case 0xce:
      return (rflags & OVERFLOW) === 0n ? undefined : { vector: 4, length: 1n };
    case 0xf1:
      return { vector: 1, length: 1n };
    default:
      return undefined;
  }
}
