/** gdt, ldt, idt and tss. */
import { FaultError, gva, InputError } from "../../dsl/nouns.ts";
import { cpuMode, SEGMENTS } from "../../dsl/modes.ts";
import { descriptorTable, exceptionName, interruptTable } from "../../dsl/x86.ts";
import type { Answer } from "../command.ts";
import { descriptorData, type DescriptorLine, renderDescriptors } from "../render/descriptors.ts";
import { bare, far, hex, table } from "../render/text.ts";
import type { Session } from "../session.ts";
import { registersOf, symbolAt, unsigned, vcpuOf } from "./selected.ts";
import { evaluateCount } from "./values.ts";

const EFER_LMA = 1n << 10n;

/** `gdt [SELECTOR]`, `ldt [SELECTOR]`: the entries, and which segment registers hold them. */
export async function segmentTable(session: Session, kind: "gdt" | "ldt", rest: string): Promise<Answer> {
  const registers = await registersOf(session);
  const base = kind === "gdt" ? registers.gdtr_base : registers.ldtr_base;
  const limit = kind === "gdt" ? registers.gdtr_limit : registers.ldtr_limit;
  if (kind === "ldt" && (registers.ldtr & 0xfffcn) === 0n) {
    return { text: "There is no LDT: LDTR holds a null selector.\n", data: { base, limit, entries: [] } };
  }
  const { bytes, note } = await readTable(session, base, limit);
  const wanted = rest === "" ? undefined : await evaluateCount(session, rest, "The selector", 0xffffn) & ~7;
  const users = new Map<number, string[]>();
  for (const name of SEGMENTS) {
    const selector = Number(registers[name]);
    const local = (selector & 4) !== 0;
    if ((selector & ~3) === 0 || local !== (kind === "ldt") || cpuMode(registers) === "real") continue;
    users.set(selector & ~7, [...users.get(selector & ~7) ?? [], name]);
  }
  const lines: DescriptorLine[] = [];
  for (const { index, descriptor } of descriptorTable(bytes, (registers.efer & EFER_LMA) !== 0n)) {
    if (wanted !== undefined && index !== wanted) continue;
    lines.push({ index, descriptor, note: users.get(index)?.join(" ") });
  }
  if (wanted !== undefined && lines.length === 0) {
    throw new InputError(`Selector ${hex(wanted)} is beyond the table's limit ${hex(limit)}`);
  }
  const head = session.style.heading(`${kind.toUpperCase()} at ${hex(base)}, limit ${hex(limit)}`);
  const text = renderDescriptors(lines, { style: session.style, width: session.width, digits: 4 });
  return { text: `${head}\n${text}${note}`, data: { base, limit, entries: lines.map(descriptorData) } };
}

/** `idt [VECTOR]`: gates, or in real mode the far pointers of the interrupt vector table. */
export async function vectors(session: Session, rest: string): Promise<Answer> {
  const registers = await registersOf(session);
  const { idtr_base: base, idtr_limit: limit } = registers;
  const wanted = rest === "" ? undefined : await evaluateCount(session, rest, "The vector", 255n);
  const real = cpuMode(registers) === "real";
  const held = await vcpuOf(session).trapTable();
  const { bytes, note } = held ? { bytes: held, note: "" } : await readTable(session, base, limit);
  const what = held ? "Trap table of Xen" : `${real ? "IVT" : "IDT"} at ${hex(base)}, limit ${hex(limit)}`;
  const head = `${session.style.heading(what)}\n`;
  if (real) return realVectors(session, bytes, wanted, { base, limit, head, note });
  const lines: DescriptorLine[] = [];
  for (const { index, descriptor } of interruptTable(bytes, (registers.efer & EFER_LMA) !== 0n)) {
    if (wanted === undefined || index === wanted) {
      lines.push({ index, descriptor, note: exceptionName(index) });
    }
  }
  const symbol = (address: bigint) => symbolAt(session.vm, address);
  const text = renderDescriptors(lines, { style: session.style, width: session.width, digits: 2, symbol });
  return { text: head + text + note, data: { base, limit, entries: lines.map(descriptorData) } };
}

function realVectors(
  session: Session,
  bytes: Uint8Array,
  wanted: number | undefined,
  about: { base: bigint; limit: bigint; head: string; note: string },
): Answer {
  const entries: { index: number; selector: number; offset: number; note?: string }[] = [];
  for (let index = 0; index * 4 + 4 <= bytes.length && index < 256; index++) {
    if (wanted !== undefined && index !== wanted) continue;
    const offset = Number(unsigned(bytes.subarray(index * 4, index * 4 + 2)));
    const selector = Number(unsigned(bytes.subarray(index * 4 + 2, index * 4 + 4)));
    entries.push({ index, selector, offset, note: exceptionName(index) });
  }
  const shown = entries.filter((e) => wanted !== undefined || e.selector !== 0 || e.offset !== 0);
  const rows = shown.map((e) => [
    session.style.address(hex(e.index, 2)),
    far(e.selector, e.offset),
    symbolAt(session.vm, BigInt(e.selector * 16 + e.offset)) ?? "",
    session.style.symbol(e.note ?? ""),
  ]);
  const zero = entries.length - shown.length;
  const rest = zero === 0 ? "" : `${session.style.dim(`${zero} all zero`)}\n`;
  const { base, limit, head, note } = about;
  return { text: head + table(rows, session.width) + rest + note, data: { base, limit, entries } };
}

/** A table's bytes as far as they are mapped; the limit is the guest's, at most 64 KiB. */
async function readTable(
  session: Session,
  base: bigint,
  limit: bigint,
): Promise<{ bytes: Uint8Array; note: string }> {
  const length = Number(limit > 0xffffn ? 0xffffn : limit) + 1;
  const { memory } = vcpuOf(session);
  const parts: Uint8Array[] = [];
  let note = "";
  for (let at = 0; at < length; at += 4096) {
    try {
      parts.push(await memory.read(gva(BigInt.asUintN(64, base + BigInt(at))), Math.min(4096, length - at)));
    } catch (error) {
      if (!(error instanceof FaultError) || at === 0) throw error;
      note = `${session.style.error(`the rest can't be read: ${error.message}`)}\n`;
      break;
    }
  }
  const bytes = new Uint8Array(parts.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return { bytes, note };
}

/** Fields of a 64-bit TSS (SDM vol. 3A, 8.7) and of a 32-bit one (8.2.1): name, offset, bytes. */
const TSS_64: readonly (readonly [string, number, number])[] = [
  ...[0, 1, 2].map((n) => [`rsp${n}`, 4 + 8 * n, 8] as const),
  ...[1, 2, 3, 4, 5, 6, 7].map((n) => [`ist${n}`, 0x24 + 8 * (n - 1), 8] as const),
  ["iomap_base", 0x66, 2],
];
const TSS_32: readonly (readonly [string, number, number])[] = [
  ["link", 0, 2],
  ...[0, 1, 2].flatMap((n) => [[`esp${n}`, 4 + 8 * n, 4] as const, [`ss${n}`, 8 + 8 * n, 2] as const]),
  ...["cr3", "eip", "eflags", "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"].map((name, i) =>
    [name, 0x1c + 4 * i, 4] as const
  ),
  ...["es", "cs", "ss", "ds", "fs", "gs", "ldt"].map((name, i) => [name, 0x48 + 4 * i, 2] as const),
  ["iomap_base", 0x66, 2],
];

/** `tss`: the fields of the task state segment in TR. */
export async function tss(session: Session): Promise<Answer> {
  const registers = await registersOf(session);
  if (cpuMode(registers) === "real" || (registers.tr & 0xfffcn) === 0n) {
    return { text: "There is no TSS: TR holds a null selector.\n", data: null };
  }
  const long = (registers.efer & EFER_LMA) !== 0n;
  const bytes = await vcpuOf(session).memory.read(gva(registers.tr_base), 0x68);
  const fields = (long ? TSS_64 : TSS_32).map(([name, at, width]) =>
    [name, unsigned(bytes.subarray(at, at + width)), width] as const
  );
  const head = `TSS ${bare(registers.tr, 4)} at ${hex(registers.tr_base)}, limit ${hex(registers.tr_limit)}`;
  const rows = fields.map(([name, value, width]) => {
    const symbol = name === "eip" ? symbolAt(session.vm, value) : undefined;
    return [session.style.register(name), hex(value, width * 2), symbol ?? ""];
  });
  return {
    text: `${session.style.heading(head)}\n${table(rows, session.width)}`,
    data: { selector: registers.tr, base: registers.tr_base, ...Object.fromEntries(fields) },
  };
}
