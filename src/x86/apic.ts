/** The local APIC's registers (SDM vol. 3A, 11.4 to 11.8). */
import { InputError } from "../vm/errors.ts";

/** One register of the page. */
export interface LapicRegister {
  /** Bytes from the start of the page; 16 * n, MSR 0x800 + n in x2APIC mode. */
  readonly offset: number;
  /** As in the SDM, shortened: "SVR", "LVT_TIMER". */
  readonly name: string;
  /** Its value, 32 bits. */
  readonly value: number;
  /** What it says, in words; undefined where the number says it all. */
  readonly text?: string;
}

const DELIVERY = ["fixed", "lowest priority", "SMI", "reserved", "NMI", "INIT", "startup", "ExtINT"];
const SHORTHAND = ["", "self", "all", "all but self"];
const TIMER_MODE = ["one-shot", "periodic", "TSC deadline", "reserved"];
const DIVIDE = [2, 4, 8, 16, 32, 64, 128, 1];

function words(...parts: (string | false)[]): string {
  return parts.filter((p) => p).join(", ");
}

function vector(value: number): string {
  return `vector 0x${(value & 0xff).toString(16).padStart(2, "0")}`;
}

/** An entry of the local vector table. */
function lvt(value: number): string {
  return words(
    vector(value),
    DELIVERY[value >> 8 & 7],
    (value & 1 << 12) !== 0 && "pending",
    (value & 1 << 13) !== 0 && "active low",
    (value & 1 << 14) !== 0 && "remote IRR",
    (value & 1 << 15) !== 0 && "level",
    (value & 1 << 16) !== 0 && "masked",
  );
}

function timer(value: number): string {
  return words(
    vector(value),
    TIMER_MODE[value >> 17 & 3],
    (value & 1 << 12) !== 0 && "pending",
    (value & 1 << 16) !== 0 && "masked",
  );
}

function command(value: number): string {
  return words(
    vector(value),
    DELIVERY[value >> 8 & 7],
    (value & 1 << 11) !== 0 ? "logical" : "physical",
    (value & 1 << 12) !== 0 && "pending",
    (value & 1 << 14) !== 0 ? "assert" : "deassert",
    (value & 1 << 15) !== 0 && "level",
    SHORTHAND[value >> 18 & 3],
  );
}

const ERRORS = [
  "send checksum",
  "receive checksum",
  "send accept",
  "receive accept",
  "redirectable IPI",
  "send illegal vector",
  "receive illegal vector",
  "illegal register address",
];

type Row = readonly [offset: number, name: string, text?: (value: number) => string];

/** Every register but the vector bitmaps, by offset. */
const ROWS: readonly Row[] = [
  [0x020, "ID", (v) => `APIC id ${v >>> 24}`],
  [0x030, "VERSION", (v) => `version 0x${(v & 0xff).toString(16)}, ${(v >> 16 & 0xff) + 1} LVT entries`],
  [0x080, "TPR", (v) => `class ${v >> 4 & 15}`],
  [0x090, "APR"],
  [0x0a0, "PPR", (v) => `class ${v >> 4 & 15}`],
  [0x0c0, "RRD"],
  [0x0d0, "LDR", (v) => `logical id 0x${(v >>> 24).toString(16)}`],
  [0x0e0, "DFR", (v) => v >>> 28 === 15 ? "flat" : v >>> 28 === 0 ? "cluster" : "reserved"],
  [
    0x0f0,
    "SVR",
    (v) =>
      words(
        vector(v),
        (v & 1 << 8) !== 0 ? "enabled" : "disabled",
        (v & 1 << 12) !== 0 && "no EOI broadcast",
      ),
  ],
  [0x280, "ESR", (v) => ERRORS.filter((_, i) => (v >> i & 1) !== 0).join(", ")],
  [0x2f0, "LVT_CMCI", lvt],
  [0x300, "ICR_LOW", command],
  [0x310, "ICR_HIGH", (v) => `destination ${v >>> 24}`],
  [0x320, "LVT_TIMER", timer],
  [0x330, "LVT_THERMAL", lvt],
  [0x340, "LVT_PMI", lvt],
  [0x350, "LVT_LINT0", lvt],
  [0x360, "LVT_LINT1", lvt],
  [0x370, "LVT_ERROR", lvt],
  [0x380, "TIMER_INITIAL"],
  [0x390, "TIMER_CURRENT"],
  [0x3e0, "TIMER_DIVIDE", (v) => `by ${DIVIDE[v & 3 | v >> 1 & 4]}`],
];

/** Bitmaps of 256 vectors in eight registers each: in service, trigger mode level, requested. */
const BITMAPS: readonly (readonly [offset: number, name: string])[] = [[0x100, "ISR"], [0x180, "TMR"], [
  0x200,
  "IRR",
]];

/** The smallest page that holds every register. */
const PAGE = 0x400;

/** The vectors set in the bitmap that starts at `offset` (0x100 ISR, 0x180 TMR, 0x200 IRR). */
export function lapicVectors(page: Uint8Array, offset: number): number[] {
  const view = viewOf(page);
  const found: number[] = [];
  for (let v = 0; v < 256; v++) {
    if (view.getUint32(offset + (v >> 5) * 16, true) >>> (v & 31) & 1) found.push(v);
  }
  return found;
}

/**
 * The registers of a page with their values in words. Of each bitmap there is one entry, whose text lists the
 * vectors and whose value is how many they are.
 *
 * @param page At least 1024 bytes.
 * @throws {InputError} If the page is shorter.
 */
export function lapicRegisters(page: Uint8Array): LapicRegister[] {
  const view = viewOf(page);
  const registers: LapicRegister[] = ROWS.map(([offset, name, text]) => {
    const value = view.getUint32(offset, true);
    return { offset, name, value, ...(text && { text: text(value) }) };
  });
  for (const [offset, name] of BITMAPS) {
    const set = lapicVectors(page, offset);
    registers.push({
      offset,
      name,
      value: set.length,
      text: set.length === 0 ? "none" : set.map((v) => `0x${v.toString(16)}`).join(" "),
    });
  }
  return registers.sort((a, b) => a.offset - b.offset);
}

/** What the register at an offset of the page is called. */
export function lapicRegisterName(offset: number): string | undefined {
  const row = ROWS.find(([at]) => at === offset);
  if (row !== undefined) return row[1];
  if (offset === 0x0b0) return "EOI";
  for (const [at, name] of BITMAPS) {
    const n = (offset - at) / 16;
    if (Number.isInteger(n) && n >= 0 && n < 8) return `${name}${n}`;
  }
  return undefined;
}

function viewOf(page: Uint8Array): DataView {
  if (page.length < PAGE) {
    throw new InputError(`A local APIC's page has ${PAGE} bytes or more; this one has ${page.length}`, {
      remedy: "give the page as the hypervisor returned it",
    });
  }
  return new DataView(page.buffer, page.byteOffset, page.byteLength);
}

const SVR = 0xf0;
const LVT_LINT0 = 0x350;
const LVT_LINT1 = 0x360;

/**
 * Writes into a page of registers at reset what a BIOS leaves in the first processor's APIC: it is on, with the 8259
 * at LINT0 and NMI at LINT1 (MultiProcessor Specification 1.4, 3.6.2.2, "Virtual Wire Mode"). Kernels that use its timer
 * and never switch it on work by that.
 */
export function enableLapic(page: Uint8Array): void {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  view.setUint32(SVR, 0x1ff, true);
  view.setUint32(LVT_LINT0, 0x8700, true); // ExtINT, level
  view.setUint32(LVT_LINT1, 0x8400, true); // NMI, level
}
