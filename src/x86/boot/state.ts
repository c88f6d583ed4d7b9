/** CPU states in which boot protocols hand over, and the GDT that goes with them. */
import { GENERAL, type RegisterValues, type SegmentName } from "../../vm/registers.ts";
import { encodeDescriptor, type SegmentState } from "../descriptors.ts";

/** Access rights of flat segments, in the layout of `_attributes`; accessed already, as after a load. */
const CODE16 = 0x9bn;
const DATA16 = 0x93n;
const CODE32 = 0xc09bn;
const DATA32 = 0xc093n;
const CODE64 = 0xa09bn;
const BUSY_TSS = 0x8bn;
const LDT = 0x82n;

const FLAT = 0xffff_ffffn;
const LIMIT16 = 0xffffn;

/** Selectors of the GDT that `gdt` makes; 8 and 0x10 are those of QEMU's multiboot loader. */
export const CODE32_SELECTOR = 0x08n;
/** Flat data, at 0x10. */
export const DATA_SELECTOR = 0x10n;
/** 64-bit code, at 0x18. */
export const CODE64_SELECTOR = 0x18n;

/** The GDT guests start with: null, flat 32-bit code, flat data, 64-bit code, 16-bit code, 16-bit data. */
export function gdt(): Uint8Array {
  const rows: SegmentState[] = [
    { base: 0n, limit: FLAT, attributes: CODE32 },
    { base: 0n, limit: FLAT, attributes: DATA32 },
    { base: 0n, limit: FLAT, attributes: CODE64 },
    { base: 0n, limit: LIMIT16, attributes: CODE16 },
    { base: 0n, limit: LIMIT16, attributes: DATA16 },
  ];
  const bytes = new Uint8Array(8 * (rows.length + 1));
  rows.forEach((row, i) => bytes.set(encodeDescriptor(row), 8 * (i + 1)));
  return bytes;
}

function segment(name: SegmentName, selector: bigint, state: SegmentState): RegisterValues {
  return {
    [name]: selector,
    [`${name}_base`]: state.base,
    [`${name}_limit`]: state.limit,
    [`${name}_attributes`]: state.attributes,
  };
}

const DATA_SEGMENTS = ["ds", "es", "fs", "gs", "ss"] as const;

function data(selector: bigint, state: SegmentState): RegisterValues {
  return Object.assign({}, ...DATA_SEGMENTS.map((name) => segment(name, selector, state)));
}

/** What a processor has after power-on (SDM vol. 3A, table 9-1), for guests whose hypervisor starts them otherwise. */
export function powerOn(): RegisterValues {
  return {
    ...data(0n, { base: 0n, limit: LIMIT16, attributes: DATA16 }),
    ...segment("cs", 0xf000n, { base: 0xffff_0000n, limit: LIMIT16, attributes: CODE16 }),
    ...segment("tr", 0n, { base: 0n, limit: LIMIT16, attributes: BUSY_TSS }),
    ...segment("ldtr", 0n, { base: 0n, limit: LIMIT16, attributes: LDT }),
    ...Object.fromEntries(GENERAL.map((name) => [name, 0n])),
    rdx: 0x600n,
    rip: 0xfff0n,
    rflags: 2n,
    cr0: 0x6000_0010n, // CD, NW, ET
    cr2: 0n,
    cr3: 0n,
    cr4: 0n,
    efer: 0n,
    gdtr_base: 0n,
    gdtr_limit: LIMIT16,
    idtr_base: 0n,
    idtr_limit: LIMIT16,
  };
}

/** Real mode at `cs:ip`, data segments 0, interrupts off. */
export function realMode(cs: bigint, ip: bigint, ss: bigint, sp: bigint): RegisterValues {
  return {
    ...data(0n, { base: 0n, limit: LIMIT16, attributes: DATA16 }),
    ...segment("cs", cs, { base: cs << 4n, limit: LIMIT16, attributes: CODE16 }),
    ...segment("ss", ss, { base: ss << 4n, limit: LIMIT16, attributes: DATA16 }),
    rip: ip,
    rsp: sp,
    rflags: 2n,
    // CR0 stays as at reset; IDTR as at reset: the IVT at 0.
  };
}

/**
 * 32-bit protected mode, flat 4 GiB segments, paging and interrupts off. The IDT is empty: an exception is a
 * triple fault until the guest loads its own.
 *
 * @param gdtAt Where `gdt()` lies.
 */
export function protectedMode(rip: bigint, rsp: bigint, gdtAt: bigint): RegisterValues {
  return {
    ...data(DATA_SELECTOR, { base: 0n, limit: FLAT, attributes: DATA32 }),
    ...segment("cs", CODE32_SELECTOR, { base: 0n, limit: FLAT, attributes: CODE32 }),
    rip,
    rsp,
    rflags: 2n,
    cr0: 0x11n, // PE; ET is always 1
    cr4: 0n,
    efer: 0n,
    gdtr_base: gdtAt,
    gdtr_limit: BigInt(gdt().length - 1),
    idtr_base: 0n,
    idtr_limit: 0n,
  };
}

/**
 * 64-bit mode with paging, SSE switched on and interrupts off. The IDT is empty.
 *
 * @param gdtAt Where `gdt()` lies.
 * @param cr3 Physical address of the PML4.
 */
export function longMode(rip: bigint, rsp: bigint, gdtAt: bigint, cr3: bigint): RegisterValues {
  return {
    ...protectedMode(rip, rsp, gdtAt),
    ...segment("cs", CODE64_SELECTOR, { base: 0n, limit: FLAT, attributes: CODE64 }),
    cr0: 0x8000_0033n, // PG, NE, ET, MP, PE
    cr3,
    cr4: 0x620n, // PAE, OSFXSR, OSXMMEXCPT
    efer: 0x500n, // LMA, LME
  };
}

/** The GDT of Linux's 64-bit boot protocol: __BOOT_CS is 0x10, __BOOT_DS 0x18 (x86/boot.rst, 1.15). */
export function linuxGdt(): Uint8Array {
  const bytes = new Uint8Array(32);
  bytes.set(encodeDescriptor({ base: 0n, limit: FLAT, attributes: CODE64 }), 0x10);
  bytes.set(encodeDescriptor({ base: 0n, limit: FLAT, attributes: DATA32 }), 0x18);
  return bytes;
}

/** The state of `longMode`, with the selectors of `linuxGdt`. */
export function linuxMode(rip: bigint, rsp: bigint, gdtAt: bigint, cr3: bigint): RegisterValues {
  return {
    ...longMode(rip, rsp, gdtAt, cr3),
    ...data(0x18n, { base: 0n, limit: FLAT, attributes: DATA32 }),
    cs: 0x10n,
    gdtr_limit: 31n,
  };
}
