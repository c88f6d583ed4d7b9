/**
 * Which registers gdb is shown, in one layout for the whole session: the 64-bit one, whatever mode the guest is in.
 * GDB manual, appendix G.5.11 "i386 Features"; what hvsh adds lies in a feature of its own.
 */
import type { RegisterName } from "../vm/registers.ts";

/** One register of the target description; its number is its place in `LAYOUT`. */
export interface GdbRegister {
  /** gdb's name. */
  readonly name: string;
  /** Width in the `g` packet: a multiple of 8. */
  readonly bits: number;
  /** gdb's type. */
  readonly type: string;
  /** Where gdb lists it; left out: where its type puts it. */
  readonly group?: string;
  /** The register of ours that holds it. */
  readonly source: RegisterName;
  /** The lowest of the source's bits that is shown; 0 when left out. */
  readonly shift?: number;
  /** How many of the source's bits are shown, if fewer than `bits`; the rest read as 0 and are not written. */
  readonly shown?: number;
}

/** Registers that belong together. */
interface Feature {
  readonly name: string;
  /** Definitions of types, as they stand in the description. */
  readonly types: string;
  readonly registers: readonly GdbRegister[];
}

const EFLAGS_TYPE = flagsType("i386_eflags", 4, [
  ["CF", 0],
  ["", 1],
  ["PF", 2],
  ["AF", 4],
  ["ZF", 6],
  ["SF", 7],
  ["TF", 8],
  ["IF", 9],
  ["DF", 10],
  ["OF", 11],
  ["NT", 14],
  ["RF", 16],
  ["VM", 17],
  ["AC", 18],
  ["VIF", 19],
  ["VIP", 20],
  ["ID", 21],
]);

const MXCSR_TYPE = flagsType("i386_mxcsr", 4, [
  ["IE", 0],
  ["DE", 1],
  ["ZE", 2],
  ["OE", 3],
  ["UE", 4],
  ["PE", 5],
  ["DAZ", 6],
  ["IM", 7],
  ["DM", 8],
  ["ZM", 9],
  ["OM", 10],
  ["UM", 11],
  ["PM", 12],
  ["FZ", 15],
]);

const CR0_TYPE = flagsType("x86_cr0", 8, [
  ["PE", 0],
  ["MP", 1],
  ["EM", 2],
  ["TS", 3],
  ["ET", 4],
  ["NE", 5],
  ["WP", 16],
  ["AM", 18],
  ["NW", 29],
  ["CD", 30],
  ["PG", 31],
]);

const CR4_TYPE = flagsType("x86_cr4", 8, [
  ["VME", 0],
  ["PVI", 1],
  ["TSD", 2],
  ["DE", 3],
  ["PSE", 4],
  ["PAE", 5],
  ["MCE", 6],
  ["PGE", 7],
  ["PCE", 8],
  ["OSFXSR", 9],
  ["OSXMMEXCPT", 10],
  ["UMIP", 11],
  ["LA57", 12],
  ["VMXE", 13],
  ["SMXE", 14],
  ["FSGSBASE", 16],
  ["PCIDE", 17],
  ["OSXSAVE", 18],
  ["SMEP", 20],
  ["SMAP", 21],
  ["PKE", 22],
]);

const EFER_TYPE = flagsType("x86_efer", 8, [["SCE", 0], ["LME", 8], ["LMA", 10], ["NXE", 11], ["SVME", 12]]);

const VECTOR_TYPES = `<vector id="v4f" type="ieee_single" count="4"/>
<vector id="v2d" type="ieee_double" count="2"/>
<vector id="v16i8" type="int8" count="16"/>
<vector id="v8i16" type="int16" count="8"/>
<vector id="v4i32" type="int32" count="4"/>
<vector id="v2i64" type="int64" count="2"/>
<union id="vec128">
<field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/>
<field name="v4_int32" type="v4i32"/><field name="v2_int64" type="v2i64"/>
<field name="uint128" type="uint128"/>
</union>
`;

const numbered = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));

const general = (name: RegisterName, type = "int64"): GdbRegister => ({ name, bits: 64, type, source: name });

const selector = (name: RegisterName): GdbRegister => ({
  name,
  bits: 32,
  type: "int32",
  source: name,
  shown: 16,
});

const fpu = (name: string, source: RegisterName, shown: number, shift = 0): GdbRegister => ({
  name,
  bits: 32,
  type: "int",
  group: "float",
  source,
  shown,
  ...(shift > 0 && { shift }),
});

const system = (source: RegisterName, bits: number, type = `uint${bits}`, shown = bits): GdbRegister => ({
  name: source,
  bits,
  type,
  group: "system",
  source,
  ...(shown < bits && { shown }),
});

const SEGMENT_NAMES = ["cs", "ss", "ds", "es", "fs", "gs", "tr", "ldtr"] as const;

const FEATURES: readonly Feature[] = [
  {
    name: "org.gnu.gdb.i386.core",
    types: EFLAGS_TYPE,
    registers: [
      ...(["rax", "rbx", "rcx", "rdx", "rsi", "rdi"] as const).map((name) => general(name)),
      general("rbp", "data_ptr"),
      general("rsp", "data_ptr"),
      ...(["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"] as const).map((name) => general(name)),
      general("rip", "code_ptr"),
      { name: "eflags", bits: 32, type: "i386_eflags", source: "rflags", shown: 32 },
      ...(["cs", "ss", "ds", "es", "fs", "gs"] as const).map(selector),
      ...numbered(8, (i): GdbRegister => ({
        name: `st${i}`,
        bits: 80,
        type: "i387_ext",
        source: `st${i}` as RegisterName,
      })),
      fpu("fctrl", "fcw", 16),
      fpu("fstat", "fsw", 16),
      fpu("ftag", "ftw", 16),
      // Of a 64-bit FIP and FDP gdb shows the upper half as a segment.
      fpu("fiseg", "fip", 16, 32),
      fpu("fioff", "fip", 32),
      fpu("foseg", "fdp", 16, 32),
      fpu("fooff", "fdp", 32),
      fpu("fop", "fop", 16),
    ],
  },
  {
    name: "org.gnu.gdb.i386.sse",
    types: VECTOR_TYPES + MXCSR_TYPE,
    registers: [
      ...numbered(16, (i): GdbRegister => ({
        name: `xmm${i}`,
        bits: 128,
        type: "vec128",
        source: `xmm${i}` as RegisterName,
      })),
      { name: "mxcsr", bits: 32, type: "i386_mxcsr", group: "vector", source: "mxcsr" },
    ],
  },
  {
    name: "org.gnu.gdb.i386.avx",
    types: "",
    registers: numbered(16, (i): GdbRegister => ({
      name: `ymm${i}h`,
      bits: 128,
      type: "uint128",
      source: `ymm${i}` as RegisterName,
      shift: 128,
    })),
  },
  {
    name: "org.gnu.gdb.i386.segments",
    types: "",
    registers: (["fs_base", "gs_base"] as const).map((name) => general(name, "int")),
  },
  {
    name: "org.hvsh.x86.system",
    types: CR0_TYPE + CR4_TYPE + EFER_TYPE,
    registers: [
      system("cr0", 64, "x86_cr0"),
      system("cr2", 64),
      system("cr3", 64),
      system("cr4", 64, "x86_cr4"),
      system("cr8", 64),
      system("efer", 64, "x86_efer"),
      system("xcr0", 64),
      system("apic_base", 64),
      ...SEGMENT_NAMES.flatMap((name): GdbRegister[] => [
        ...(name === "tr" || name === "ldtr" ? [system(name, 32, "uint32", 16)] : []),
        ...(name === "fs" || name === "gs" ? [] : [system(`${name}_base`, 64)]),
        system(`${name}_limit`, 32),
        system(`${name}_attributes`, 32),
      ]),
      system("gdtr_base", 64),
      system("gdtr_limit", 32, "uint32", 16),
      system("idtr_base", 64),
      system("idtr_limit", 32, "uint32", 16),
      ...(["dr0", "dr1", "dr2", "dr3", "dr6", "dr7"] as const).map((name) => system(name, 64)),
    ],
  },
];

/** Every register, by gdb's number. */
export const LAYOUT: readonly GdbRegister[] = FEATURES.flatMap(({ registers }) => registers);

/** The number of the register that gdb calls `name`. */
export function numberOf(name: string): number {
  return LAYOUT.findIndex((register) => register.name === name);
}

/** The target description (GDB manual, appendix G), `target.xml`. */
export const TARGET_XML: string = `<?xml version="1.0"?>
<!DOCTYPE target SYSTEM "gdb-target.dtd">
<target>
<architecture>i386:x86-64</architecture>
${FEATURES.map(featureXml).join("")}</target>
`;

function featureXml({ name, types, registers }: Feature): string {
  const lines = registers.map((register) => {
    const group = register.group === undefined ? "" : ` group="${register.group}"`;
    const number = `regnum="${numberOf(register.name)}"`;
    return `<reg name="${register.name}" bitsize="${register.bits}" type="${register.type}" ${number}${group}/>\n`;
  });
  return `<feature name="${name}">\n${types}${lines.join("")}</feature>\n`;
}

function flagsType(
  id: string,
  size: number,
  fields: readonly (readonly [name: string, bit: number])[],
): string {
  const lines = fields.map(([name, bit]) => `<field name="${name}" start="${bit}" end="${bit}"/>`);
  return `<flags id="${id}" size="${size}">\n${lines.join("\n")}\n</flags>\n`;
}
