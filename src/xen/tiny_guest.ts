/** A PVH guest of a few instructions, for probes: an ELF32 file with one segment and Xen's entry note. */

const HEADER = 52;
const PROGRAM = 32;
const NOTE = HEADER + 2 * PROGRAM;
const NOTE_SIZE = 20;
const CODE = NOTE + NOTE_SIZE;

/** XEN_ELFNOTE_PHYS32_ENTRY of xen/elfnote.h: where a PVH guest starts, in 32-bit protected mode without paging. */
const XEN_ELFNOTE_PHYS32_ENTRY = 18;

/** Guest-physical address that the file is loaded at. */
export const LOAD_ADDRESS = 0x10_0000;

/** Guest-physical address of the first instruction. */
export const ENTRY = LOAD_ADDRESS + CODE;

/** The ELF file of a PVH guest that starts with `code`, 32-bit instructions, at `ENTRY`. */
export function pvhElf(code: readonly number[]): Uint8Array<ArrayBuffer> {
  const size = CODE + code.length;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const words = (at: number, values: readonly number[]) =>
    values.forEach((value, n) => view.setUint32(at + 4 * n, value, true));
  const halves = (at: number, values: readonly number[]) =>
    values.forEach((value, n) => view.setUint16(at + 2 * n, value, true));
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]); // ELF, 32 bits, little-endian, version 1
  halves(16, [2, 3]); // executable, Intel 386
  words(20, [1, ENTRY, HEADER]); // version, entry, program headers' offset
  halves(40, [HEADER, PROGRAM, 2]);
  // type (1 load, 4 note), offset, virtual and physical address, size in file and in memory, flags (r-x), alignment
  words(HEADER, [1, 0, LOAD_ADDRESS, LOAD_ADDRESS, size, size, 5, 4096]);
  words(HEADER + PROGRAM, [4, NOTE, LOAD_ADDRESS + NOTE, LOAD_ADDRESS + NOTE, NOTE_SIZE, NOTE_SIZE, 4, 4]);
  words(NOTE, [4, 4, XEN_ELFNOTE_PHYS32_ENTRY]); // name's size, value's size, type
  bytes.set(new TextEncoder().encode("Xen"), NOTE + 12);
  words(NOTE + 16, [ENTRY]);
  bytes.set(code, CODE);
  return bytes;
}
