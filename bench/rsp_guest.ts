/** A kernel that QEMU's `-kernel` and hvsh's take alike: a multiboot ELF32 file that counts in EAX for ever. */

const BASE = 0x100000;
const HEADER_BYTES = 52 + 32;

// Multiboot 0.6.96, 3.1.1: magic, flags, checksum. Then inc eax; add ebx, eax; jmp back to inc.
const CODE = Uint8Array.of(0x40, 0x01, 0xc3, 0xeb, 0xfb);
const MAGIC = 0x1badb002;

/** Linear address of the loop's first instruction, where the kernel is entered too. */
export const LOOP_ADDRESS = BASE + HEADER_BYTES + 12;

/** The file. */
export const LOOP_ELF: Uint8Array = build();

function build(): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + 12 + CODE.length);
  const view = new DataView(bytes.buffer);
  // System V ABI, "ELF Header": 32-bit, little-endian, executable, for the 80386.
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  const half = (at: number, value: number) => view.setUint16(at, value, true);
  const word = (at: number, value: number) => view.setUint32(at, value, true);
  half(16, 2);
  half(18, 3);
  word(20, 1);
  word(24, LOOP_ADDRESS);
  word(28, 52);
  half(40, 52);
  half(42, 32);
  half(44, 1);
  // "Program Header": PT_LOAD of the whole file.
  for (const [i, value] of [1, 0, BASE, BASE, bytes.length, bytes.length, 5, 0x1000].entries()) {
    word(52 + 4 * i, value);
  }
  word(HEADER_BYTES, MAGIC);
  word(HEADER_BYTES + 8, -MAGIC >>> 0);
  bytes.set(CODE, HEADER_BYTES + 12);
  return bytes;
}
