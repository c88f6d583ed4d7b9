/**
 * The BIOS data area, as a BIOS leaves it: kernels look there for the serial port, the size of conventional
 * memory and the EBDA even if they never call the BIOS.
 */
import { type BootWrite, LOW_END, spanOf } from "./image.ts";

const AT = 0x400n;
const SIZE = 0x100;

/** The keyboard buffer, from segment 0x40. */
const KEYS = 0x1e;

/** The area at 0x400 (field names: IBM PC/AT Technical Reference, "BIOS data area"). */
function biosData(): Uint8Array {
  const view = new DataView(new ArrayBuffer(SIZE));
  view.setUint16(0x00, 0x3f8, true); // COM1
  view.setUint16(0x0e, Number(LOW_END >> 4n), true); // segment of the EBDA
  view.setUint16(0x10, 0x0226, true); // equipment: FPU, PS/2 mouse, 80 x 25 colour, one serial port
  view.setUint16(0x13, Number(LOW_END >> 10n), true); // KiB of conventional memory
  view.setUint16(0x1a, KEYS, true); // keyboard buffer's head, and its tail: empty
  view.setUint16(0x1c, KEYS, true);
  view.setUint8(0x49, 3); // video mode
  view.setUint16(0x4a, 80, true); // columns
  view.setUint16(0x4c, 0x1000, true); // bytes of a text page
  view.setUint16(0x60, 0x0607, true); // cursor shape
  view.setUint16(0x63, 0x3d4, true); // CRT controller's port
  view.setUint16(0x80, KEYS, true); // keyboard buffer's start, and its end
  view.setUint16(0x82, KEYS + 32, true);
  view.setUint8(0x84, 24); // rows less one
  view.setUint16(0x85, 16, true); // character height
  view.setUint8(0x96, 0x10); // a keyboard of 101 keys
  const area = new Uint8Array(view.buffer);
  area.set([...REFUSE, ...MEMORY_SIZE], HANDLERS);
  return area;
}

/** Where the services' handlers lie: an area that BIOSes leave to programs, 16 bytes at the end of the data area. */
const HANDLERS = 0xf0;
// push bp; mov bp, sp; or byte [bp + 6], 1; pop bp; mov ah, 0x86; iret: carry in the caller's flags, "no such function"
const REFUSE = [0x55, 0x89, 0xe5, 0x80, 0x4e, 0x06, 0x01, 0x5d, 0xb4, 0x86, 0xcf];
// mov ax, KiB; iret
const MEMORY_SIZE = [0xb8, Number(LOW_END >> 10n) & 0xff, Number(LOW_END >> 18n), 0xcf];
/** INT 10H (video) to INT 1AH (time). */
const SERVICES = { first: 0x10, last: 0x1a, memorySize: 0x12 };

/**
 * What a kernel meets that goes back to real mode and calls a BIOS although none is there, as Xen does: each service
 * says that it has no such function, but for the size of conventional memory. With vectors of zeros it would run off
 * through the vector table.
 */
function services(): Uint8Array {
  const vectors = new DataView(new ArrayBuffer(4 * (SERVICES.last - SERVICES.first + 1)));
  for (let vector = SERVICES.first; vector <= SERVICES.last; vector++) {
    const skip = vector === SERVICES.memorySize ? REFUSE.length : 0;
    vectors.setUint16(4 * (vector - SERVICES.first), Number(AT) + HANDLERS + skip, true);
  }
  return new Uint8Array(vectors.buffer);
}

/** Adds the BIOS data area and the EBDA's size byte, unless something is loaded there or there is too little RAM. */
export function withBiosData(writes: readonly BootWrite[], memory: number): BootWrite[] {
  const extra: BootWrite[] = [
    { at: BigInt(4 * SERVICES.first), bytes: services(), name: "BIOS services" },
    { at: AT, bytes: biosData(), name: "BIOS data area" },
    { at: LOW_END, bytes: Uint8Array.of(1), name: "extended BIOS data area" }, // its size in KiB
  ];
  const free = extra.filter((e) => {
    const end = e.at + BigInt(e.bytes.length);
    return end <= BigInt(memory) && writes.every((w) => w.at >= end || w.at + spanOf(w).size <= e.at);
  });
  return [...writes, ...free];
}
