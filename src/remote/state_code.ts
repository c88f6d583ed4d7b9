/** Machine code that takes a vCPU from real mode into another state (SDM vol. 3A, 10.9 and 10.8.5). */
import type { RegisterName, SegmentName } from "../vm/registers.ts";
import { encodeDescriptor } from "../x86/descriptors.ts";

/** A page of code and tables, and where its code ends. */
export interface StateCode {
  /** 4096 bytes. */
  readonly page: Uint8Array;
  /** RIP when it is done. */
  readonly end: bigint;
  /** The most instructions it takes. */
  readonly steps: number;
}

/** Where in the page descriptors and table pointers stand. */
const DESCRIPTORS = 0x800;
const POINTERS = 0xc00;
const PE = 1n;
const LMA = 1n << 10n;
const LONG = 1n << 13n;
const BUSY = 2n;

/** Numbers of segment registers in MOV Sreg (SDM vol. 2A, 2.1.5, table 2-2). */
const SREG = { es: 0, ss: 2, ds: 3, fs: 4, gs: 5 } as const;

/** Writes the page that stands at `at`, below 1 MiB. It is entered in real mode at its first byte. */
export function stateCode(at: number, state: (name: RegisterName) => bigint): StateCode {
  const page = new Uint8Array(4096);
  const view = new DataView(page.buffer);
  let here = 0;
  let steps = 0;
  let tables = 0;
  const emit = (...bytes: number[]) => {
    page.set(bytes, here);
    here += bytes.length;
    steps++;
  };
  const imm32 = (value: bigint) => [0, 8, 16, 24].map((shift) => Number(value >> BigInt(shift) & 0xffn));
  /** A pointer for LGDT or LIDT; gives its offset in the page. */
  const pointer = (base: bigint, limit: bigint): number => {
    const offset = POINTERS + 16 * tables;
    view.setUint16(offset, Number(limit), true);
    view.setBigUint64(offset + 2, BigInt.asUintN(64, base), true);
    tables++;
    return offset;
  };
  let descriptors = 0;
  /** A pointer to a table in which the selector of `name` names its descriptor, and nothing else stands. */
  const tableFor = (name: SegmentName): number => {
    const index = state(name) >> 3n;
    const attributes = state(`${name}_attributes`);
    const system = name === "tr" || name === "ldtr";
    const bytes = encodeDescriptor({
      base: state(`${name}_base`),
      limit: state(`${name}_limit`),
      attributes: name === "tr" ? attributes & ~BUSY : attributes,
    }, system && long);
    const offset = DESCRIPTORS + 16 * descriptors++;
    page.set(bytes, offset);
    return pointer(BigInt(at + offset) - 8n * index, 8n * index + BigInt(bytes.length) - 1n);
  };
  const long = (state("efer") & LMA) !== 0n;
  const code64 = long && (state("cs_attributes") & LONG) !== 0n;
  const lgdt = (offset: number) => {
    emit(0xb8, ...imm32(BigInt(at + offset)));
    emit(0x0f, 0x01, 0x10);
  };
  const dr = (wide: boolean) => {
    for (
      const [n, name] of [[0, "dr0"], [1, "dr1"], [2, "dr2"], [3, "dr3"], [6, "dr6"], [7, "dr7"]] as const
    ) {
      const value = state(name);
      if (code64) emit(0x48, 0xb8, ...imm32(value), ...imm32(value >> 32n));
      else emit(...(wide ? [] : [0x66]), 0xb8, ...imm32(value));
      emit(0x0f, 0x23, 0xc0 | n << 3);
    }
  };

  if ((state("cr0") & PE) === 0n) {
    const gdtr = pointer(state("gdtr_base"), state("gdtr_limit"));
    const idtr = pointer(state("idtr_base"), state("idtr_limit"));
    emit(0x66, 0x2e, 0x0f, 0x01, 0x16, gdtr & 255, gdtr >> 8);
    emit(0x66, 0x2e, 0x0f, 0x01, 0x1e, idtr & 255, idtr >> 8);
    dr(false);
    return { page, end: BigInt(here), steps };
  }
  const cs = tableFor("cs");
  emit(0x66, 0x2e, 0x0f, 0x01, 0x16, cs & 255, cs >> 8);
  for (const [name, modrm] of [["cr4", 0xe0], ["cr3", 0xd8]] as const) {
    emit(0x66, 0xb8, ...imm32(state(name)));
    emit(0x0f, 0x22, modrm);
  }
  emit(0x66, 0xb9, ...imm32(0xc000_0080n));
  emit(0x66, 0x31, 0xd2);
  emit(0x66, 0xb8, ...imm32(state("efer") & ~LMA));
  emit(0x0f, 0x30);
  emit(0x66, 0xb8, ...imm32(state("cr0")));
  emit(0x0f, 0x22, 0xc0);
  const origin = BigInt(at) - (code64 ? 0n : state("cs_base"));
  const selector = Number(state("cs"));
  emit(0x66, 0xea, ...imm32(BigInt.asUintN(32, origin + BigInt(here + 8))), selector & 255, selector >> 8);
  for (const name of ["ds", "es", "fs", "gs", "ss"] as const) {
    const value = Number(state(name));
    if ((value & ~3) !== 0) lgdt(tableFor(name));
    emit(0x66, 0xb8, value & 255, value >> 8);
    emit(0x8e, 0xc0 | SREG[name] << 3);
  }
  for (const [name, modrm] of [["tr", 0xd8], ["ldtr", 0xd0]] as const) {
    const value = Number(state(name));
    if ((value & ~3) === 0) continue;
    lgdt(tableFor(name));
    emit(0x66, 0xb8, value & 255, value >> 8);
    emit(0x0f, 0x00, modrm);
  }
  dr(true);
  lgdt(pointer(state("gdtr_base"), state("gdtr_limit")));
  emit(0xb8, ...imm32(BigInt(at + pointer(state("idtr_base"), state("idtr_limit")))));
  emit(0x0f, 0x01, 0x18);
  return { page, end: BigInt.asUintN(code64 ? 64 : 32, origin + BigInt(here)), steps };
}
