/** The bits of registers and error codes, as rows of data. */

/** A bit, or a field of neighbouring bits. */
export interface FlagRow {
  /** As the SDM (or, for AMD's own bits, the APM) spells it. */
  readonly name: string;
  /** Its bits. */
  readonly mask: bigint;
  /** What it means when set. */
  readonly meaning: string;
  /** Words for the values of a field, by value. */
  readonly values?: readonly (string | undefined)[];
  /** The field is an address whose low bits are elsewhere: shown as the address. */
  readonly address?: boolean;
}

/** One register's bits. */
export interface FlagBits {
  /** From the lowest bit. */
  readonly rows: readonly FlagRow[];
  /** Bits that always read as 1 and mean nothing. */
  readonly fixed: bigint;
}

/** What `decodeFlags` knows. */
export type FlagTable =
  | "rflags"
  | "cr0"
  | "cr4"
  | "efer"
  | "xcr0"
  | "apic_base"
  | "dr6"
  | "dr7"
  | "attributes"
  | "pf-error"
  | "selector-error"
  | "mxcsr"
  | "fcw"
  | "fsw";

function bit(position: number, name: string, meaning: string): FlagRow {
  return { name, mask: 1n << BigInt(position), meaning };
}

function field(
  high: number,
  low: number,
  name: string,
  meaning: string,
  values?: readonly string[],
): FlagRow {
  const mask = (1n << BigInt(high + 1)) - (1n << BigInt(low));
  return values === undefined ? { name, mask, meaning } : { name, mask, meaning, values };
}

const RW = ["execute", "write", "i/o", "read/write"];
const LEN = ["1", "2", "8", "4"];

/** DR7's rows for the four slots (SDM vol. 3B, 18.2.4). */
function dr7Slots(): FlagRow[] {
  const rows: FlagRow[] = [];
  for (let i = 0; i < 4; i++) {
    rows.push(bit(2 * i, `L${i}`, `breakpoint ${i} enabled for this task`));
    rows.push(bit(2 * i + 1, `G${i}`, `breakpoint ${i} enabled`));
  }
  return rows;
}

function dr7Conditions(): FlagRow[] {
  const rows: FlagRow[] = [];
  for (let i = 0; i < 4; i++) {
    rows.push(
      field(
        17 + 4 * i,
        16 + 4 * i,
        `R/W${i}`,
        `breakpoint ${i}: 0 ${RW[0]}, 1 ${RW[1]}, 2 ${RW[2]}, 3 ${RW[3]}`,
      ),
    );
    rows.push(
      field(
        19 + 4 * i,
        18 + 4 * i,
        `LEN${i}`,
        `breakpoint ${i}: ${LEN.map((n, v) => `${v} is ${n}`).join(", ")} bytes`,
      ),
    );
  }
  return rows;
}

/** Types of code and data segments, S = 1 (SDM vol. 3A, table 3-1). */
// deno-fmt-ignore: rows of four are easier to check than a column
const SEGMENT_TYPES = [
  "data R", "data R A", "data RW", "data RW A",
  "data R E", "data R E A", "data RW E", "data RW E A",
  "code X", "code X A", "code RX", "code RX A",
  "code X C", "code X C A", "code RX C", "code RX C A",
] as const;

/** Types of system segments and gates, S = 0, in IA-32e mode named as their 32-bit kin (SDM vol. 3A, table 3-2). */
// deno-fmt-ignore: rows of four are easier to check than a column
export const SYSTEM_TYPES: readonly string[] = [
  "system 0", "tss16", "ldt", "tss16 busy",
  "call gate16", "task gate", "interrupt gate16", "trap gate16",
  "system 8", "tss", "system 10", "tss busy",
  "call gate", "system 13", "interrupt gate", "trap gate",
];

/** Names of the 32 values that type and S (bits 4..0 of the attributes) have together. */
export const DESCRIPTOR_TYPES: readonly string[] = [...SYSTEM_TYPES, ...SEGMENT_TYPES];

/** Every table. */
export const FLAG_TABLES: Readonly<Record<FlagTable, FlagBits>> = {
  // SDM vol. 1, 3.4.3
  rflags: {
    fixed: 1n << 1n,
    rows: [
      bit(0, "CF", "carry"),
      bit(2, "PF", "parity of the low byte is even"),
      bit(4, "AF", "carry out of bit 3"),
      bit(6, "ZF", "zero"),
      bit(7, "SF", "sign"),
      bit(8, "TF", "trap after each instruction"),
      bit(9, "IF", "maskable interrupts enabled"),
      bit(10, "DF", "string instructions count down"),
      bit(11, "OF", "overflow"),
      field(13, 12, "IOPL", "I/O privilege level"),
      bit(14, "NT", "nested task"),
      bit(16, "RF", "instruction breakpoints ignored for one instruction"),
      bit(17, "VM", "virtual-8086 mode"),
      bit(18, "AC", "alignment checked at CPL 3, or SMAP suspended"),
      bit(19, "VIF", "virtual interrupt flag"),
      bit(20, "VIP", "virtual interrupt pending"),
      bit(21, "ID", "CPUID is there"),
    ],
  },
  // SDM vol. 3A, 2.5
  cr0: {
    fixed: 0n,
    rows: [
      bit(0, "PE", "protection enabled"),
      bit(1, "MP", "WAIT traps when TS"),
      bit(2, "EM", "x87 instructions trap"),
      bit(3, "TS", "task switched: x87 and SSE trap"),
      bit(4, "ET", "387 protocol (always 1)"),
      bit(5, "NE", "x87 errors are #MF"),
      bit(16, "WP", "supervisor obeys read-only pages"),
      bit(18, "AM", "alignment checks allowed"),
      bit(29, "NW", "not write-through"),
      bit(30, "CD", "cache disabled"),
      bit(31, "PG", "paging"),
    ],
  },
  cr4: {
    fixed: 0n,
    rows: [
      bit(0, "VME", "virtual-8086 extensions"),
      bit(1, "PVI", "protected-mode virtual interrupts"),
      bit(2, "TSD", "RDTSC at CPL 0 only"),
      bit(3, "DE", "I/O breakpoints; DR4 and DR5 are #UD"),
      bit(4, "PSE", "4 MiB pages in 32-bit paging"),
      bit(5, "PAE", "8-byte paging entries"),
      bit(6, "MCE", "machine check"),
      bit(7, "PGE", "global pages"),
      bit(8, "PCE", "RDPMC at every CPL"),
      bit(9, "OSFXSR", "SSE and FXSAVE"),
      bit(10, "OSXMMEXCPT", "SSE errors are #XM"),
      bit(11, "UMIP", "SGDT and kin at CPL 0 only"),
      bit(12, "LA57", "57-bit linear addresses"),
      bit(13, "VMXE", "VMX"),
      bit(14, "SMXE", "SMX"),
      bit(16, "FSGSBASE", "RDFSBASE and kin"),
      bit(17, "PCIDE", "process-context identifiers"),
      bit(18, "OSXSAVE", "XSAVE and XCR0"),
      bit(19, "KL", "key locker"),
      bit(20, "SMEP", "supervisor can't execute user pages"),
      bit(21, "SMAP", "supervisor can't read or write user pages unless AC"),
      bit(22, "PKE", "protection keys for user pages"),
      bit(23, "CET", "control-flow enforcement"),
      bit(24, "PKS", "protection keys for supervisor pages"),
      bit(25, "UINTR", "user interrupts"),
      bit(27, "LASS", "linear address space separation"),
      bit(28, "LAM_SUP", "linear address masking for supervisor pointers"),
      bit(32, "FRED", "flexible return and event delivery"),
    ],
  },
  // SDM vol. 3A, 2.2.1; APM vol. 2, 3.1.7
  efer: {
    fixed: 0n,
    rows: [
      bit(0, "SCE", "SYSCALL and SYSRET"),
      bit(8, "LME", "IA-32e mode enabled"),
      bit(10, "LMA", "IA-32e mode active"),
      bit(11, "NXE", "execute-disable bit in paging entries"),
      bit(12, "SVME", "SVM"),
      bit(13, "LMSLE", "long mode segment limits"),
      bit(14, "FFXSR", "fast FXSAVE"),
      bit(15, "TCE", "translation cache extension"),
      bit(17, "MCOMMIT", "MCOMMIT instruction"),
      bit(18, "INTWB", "interruptible WBINVD"),
      bit(20, "UAIE", "upper address ignore"),
      bit(21, "AIBRSE", "automatic IBRS"),
    ],
  },
  // SDM vol. 1, 13.1
  xcr0: {
    fixed: 0n,
    rows: [
      bit(0, "X87", "x87 state"),
      bit(1, "SSE", "XMM registers and MXCSR"),
      bit(2, "AVX", "upper halves of YMM"),
      bit(3, "BNDREGS", "MPX bounds"),
      bit(4, "BNDCSR", "MPX configuration"),
      bit(5, "OPMASK", "k0..k7"),
      bit(6, "ZMM_HI256", "upper halves of ZMM0..15"),
      bit(7, "HI16_ZMM", "ZMM16..31"),
      bit(9, "PKRU", "protection-key rights"),
      bit(17, "TILECFG", "AMX configuration"),
      bit(18, "TILEDATA", "AMX tiles"),
    ],
  },
  // SDM vol. 3A, 11.4.4
  apic_base: {
    fixed: 0n,
    rows: [
      bit(8, "BSP", "bootstrap processor"),
      bit(10, "EXTD", "x2APIC mode"),
      bit(11, "EN", "local APIC enabled"),
      {
        name: "BASE",
        mask: 0x000f_ffff_ffff_f000n,
        meaning: "physical address of its registers",
        address: true,
      },
    ],
  },
  // SDM vol. 3B, 18.2.3. BLD (11) and RTM (16) are active low and rarely there: taken as the 1s they read as.
  dr6: {
    fixed: 0xffff_0ff0n,
    rows: [
      bit(0, "B0", "breakpoint 0"),
      bit(1, "B1", "breakpoint 1"),
      bit(2, "B2", "breakpoint 2"),
      bit(3, "B3", "breakpoint 3"),
      bit(13, "BD", "debug register accessed while DR7.GD"),
      bit(14, "BS", "single step"),
      bit(15, "BT", "task switch"),
    ],
  },
  dr7: {
    fixed: 1n << 10n,
    rows: [
      ...dr7Slots(),
      bit(8, "LE", "exact data breakpoints for this task"),
      bit(9, "GE", "exact data breakpoints"),
      bit(11, "RTM", "debugging in transactions"),
      bit(13, "GD", "access to debug registers traps"),
      ...dr7Conditions(),
    ],
  },
  // Segment attributes, in the layout of VMX access rights (SDM vol. 3C, 25.4.1)
  attributes: {
    fixed: 0n,
    rows: [
      field(4, 0, "TYPE", "kind of segment or gate, with S as bit 4", DESCRIPTOR_TYPES),
      field(6, 5, "DPL", "descriptor privilege level"),
      bit(7, "P", "present"),
      bit(12, "AVL", "for software"),
      bit(13, "L", "64-bit code"),
      bit(14, "D/B", "32-bit code or stack"),
      bit(15, "G", "limit counts 4 KiB pages"),
      bit(16, "unusable", "a null selector was loaded"),
    ],
  },
  // SDM vol. 3A, 4.7; RMP: APM vol. 2, 15.36
  "pf-error": {
    fixed: 0n,
    rows: [
      bit(0, "P", "the page is present, its rights said no (else: not present)"),
      bit(1, "W/R", "write (else: read)"),
      bit(2, "U/S", "at CPL 3 (else: supervisor)"),
      bit(3, "RSVD", "reserved bit set in a paging entry"),
      bit(4, "I/D", "instruction fetch"),
      bit(5, "PK", "protection key"),
      bit(6, "SS", "shadow stack access"),
      bit(7, "HLAT", "during HLAT paging"),
      bit(15, "SGX", "SGX access control"),
      bit(31, "RMP", "reverse map table (SEV-SNP)"),
    ],
  },
  // SDM vol. 3A, 6.13
  "selector-error": {
    fixed: 0n,
    rows: [
      bit(0, "EXT", "while delivering an event from outside the program"),
      bit(1, "IDT", "the index is of a gate in the IDT"),
      bit(2, "TI", "the index is of the LDT"),
      { name: "INDEX", mask: 0xfff8n, meaning: "selector without its low bits", address: true },
    ],
  },
  // SDM vol. 1, 10.2.3
  mxcsr: {
    fixed: 0n,
    rows: [
      bit(0, "IE", "invalid operation happened"),
      bit(1, "DE", "denormal operand happened"),
      bit(2, "ZE", "division by zero happened"),
      bit(3, "OE", "overflow happened"),
      bit(4, "UE", "underflow happened"),
      bit(5, "PE", "inexact result happened"),
      bit(6, "DAZ", "denormals are zeros"),
      bit(7, "IM", "invalid operation masked"),
      bit(8, "DM", "denormal operand masked"),
      bit(9, "ZM", "division by zero masked"),
      bit(10, "OM", "overflow masked"),
      bit(11, "UM", "underflow masked"),
      bit(12, "PM", "inexact result masked"),
      field(14, 13, "RC", "rounding: 0 nearest, 1 down, 2 up, 3 toward zero"),
      bit(15, "FZ", "flush to zero"),
      bit(17, "MM", "misaligned exception mask"),
    ],
  },
  // SDM vol. 1, 8.1.5
  fcw: {
    fixed: 1n << 6n,
    rows: [
      bit(0, "IM", "invalid operation masked"),
      bit(1, "DM", "denormal operand masked"),
      bit(2, "ZM", "division by zero masked"),
      bit(3, "OM", "overflow masked"),
      bit(4, "UM", "underflow masked"),
      bit(5, "PM", "inexact result masked"),
      field(9, 8, "PC", "precision: 0 single, 2 double, 3 extended"),
      field(11, 10, "RC", "rounding: 0 nearest, 1 down, 2 up, 3 toward zero"),
      bit(12, "X", "infinity control (287)"),
    ],
  },
  // SDM vol. 1, 8.1.3
  fsw: {
    fixed: 0n,
    rows: [
      bit(0, "IE", "invalid operation"),
      bit(1, "DE", "denormal operand"),
      bit(2, "ZE", "division by zero"),
      bit(3, "OE", "overflow"),
      bit(4, "UE", "underflow"),
      bit(5, "PE", "inexact result"),
      bit(6, "SF", "stack fault"),
      bit(7, "ES", "an unmasked error is pending"),
      bit(8, "C0", "condition 0"),
      bit(9, "C1", "condition 1"),
      bit(10, "C2", "condition 2"),
      field(13, 11, "TOP", "physical register that is ST0"),
      bit(14, "C3", "condition 3"),
      bit(15, "B", "busy (as ES)"),
    ],
  },
};
