/**
 * What QEMU's monitor prints for `info registers` (target/i386/cpu-dump.c): the parts of the state that its GDB
 * stub does not show, such as descriptor caches, descriptor tables and debug registers.
 */
import type { RegisterName, SegmentName } from "../vm/registers.ts";
import { SEGMENTS } from "../vm/registers.ts";

/** A vCPU as the monitor printed it. */
export interface RegisterDump {
  /** Every register that was printed. */
  readonly values: ReadonlyMap<RegisterName, bigint>;
  /** Whether the vCPU sleeps in HLT or waits to be started. */
  readonly halted: boolean;
}

/** Longer than any dump: QEMU's has less than 4 KiB a vCPU. */
const LIMIT = 64 * 1024;

const SIMPLE: Readonly<Record<string, RegisterName>> = {
  ...Object.fromEntries(
    ["ax", "bx", "cx", "dx", "si", "di", "bp", "sp", "ip"].flatMap((name) => [
      [`R${name.toUpperCase()}`, `r${name}` as RegisterName],
      [`E${name.toUpperCase()}`, `r${name}` as RegisterName],
    ]),
  ),
  ...Object.fromEntries([8, 9, 10, 11, 12, 13, 14, 15].map((n) => [`R${n}`, `r${n}` as RegisterName])),
  RFL: "rflags",
  EFL: "rflags",
  CR0: "cr0",
  CR2: "cr2",
  CR3: "cr3",
  CR4: "cr4",
  DR0: "dr0",
  DR1: "dr1",
  DR2: "dr2",
  DR3: "dr3",
  DR6: "dr6",
  DR7: "dr7",
  EFER: "efer",
  FCW: "fcw",
  FSW: "fsw",
  MXCSR: "mxcsr",
};

/** P of a descriptor's access rights, and "unusable" as VMX writes it. */
const PRESENT = 1n << 7n;
const UNUSABLE = 1n << 16n;

/** Reads a dump; undefined if it is none. */
export function parseRegisterDump(text: string): RegisterDump | undefined {
  if (text.length > LIMIT) return undefined;
  const values = new Map<RegisterName, bigint>();
  const fpr = new Map<number, bigint>();
  for (const [, name, value] of text.matchAll(/\b([A-Z][A-Z0-9]{1,4}) ?=([0-9a-f]{1,16})\b/g)) {
    const known = SIMPLE[name];
    if (known !== undefined) values.set(known, BigInt(`0x${value}`));
  }
  const descriptor =
    /^(CS|SS|DS|ES|FS|GS|LDT|TR) ?=([0-9a-f]{4}) ([0-9a-f]{8,16}) ([0-9a-f]{8}) ([0-9a-f]{8})/gm;
  for (const [, name, selector, base, limit, flags] of text.matchAll(descriptor)) {
    const segment: SegmentName = name === "LDT" ? "ldtr" : name.toLowerCase() as SegmentName;
    const rights = BigInt(`0x${flags}`) >> 8n & 0xf0ffn;
    values.set(segment, BigInt(`0x${selector}`));
    values.set(`${segment}_base`, BigInt(`0x${base}`));
    values.set(`${segment}_limit`, BigInt(`0x${limit}`));
    values.set(`${segment}_attributes`, (rights & PRESENT) === 0n ? rights | UNUSABLE : rights);
  }
  for (const [, name, base, limit] of text.matchAll(/^(GDT|IDT)= +([0-9a-f]{8,16}) ([0-9a-f]{8})/gm)) {
    const table = name === "GDT" ? "gdtr" : "idtr";
    values.set(`${table}_base`, BigInt(`0x${base}`));
    values.set(`${table}_limit`, BigInt(`0x${limit}`) & 0xffffn);
  }
  for (const [, n, low, high] of text.matchAll(/FPR([0-7])=([0-9a-f]{16}) ([0-9a-f]{4})/g)) {
    fpr.set(Number(n), BigInt(`0x${high}${low}`));
  }
  for (const [, n, high, low] of text.matchAll(/XMM(\d\d)=([0-9a-f]{16}) ([0-9a-f]{16})/g)) {
    vector(values, Number(n), BigInt(`0x${high}${low}`));
  }
  for (const [, n, ...parts] of text.matchAll(/YMM(\d\d)=((?:[0-9a-f]{16} ?){4})/g)) {
    vector(values, Number(n), BigInt(`0x${parts[0].replaceAll(" ", "")}`));
  }
  const halted = /\bHLT=([01])\b/.exec(text);
  if (halted === null || SEGMENTS.some((name) => !values.has(`${name}_base`))) return undefined;
  floatingPoint(values, fpr, /\bFTW=([0-9a-f]{2})\b/.exec(text)?.[1]);
  return { values, halted: halted[1] === "1" };
}

function vector(values: Map<RegisterName, bigint>, n: number, value: bigint): void {
  if (n > 15) return;
  values.set(`xmm${n}` as RegisterName, BigInt.asUintN(128, value));
  values.set(`ymm${n}` as RegisterName, value);
}

/** The monitor prints physical x87 registers and which of them are in use; hvsh has them by the stack's top. */
function floatingPoint(
  values: Map<RegisterName, bigint>,
  fpr: ReadonlyMap<number, bigint>,
  used: string | undefined,
): void {
  const top = Number((values.get("fsw") ?? 0n) >> 11n & 7n);
  const abridged = parseInt(used ?? "0", 16);
  let tags = 0n;
  for (let i = 0; i < 8; i++) {
    const value = fpr.get(i) ?? 0n;
    values.set(`st${(i - top) & 7}` as RegisterName, value);
    tags |= BigInt((abridged >> i & 1) === 0 ? 3 : tagOf(value)) << BigInt(2 * i);
  }
  values.set("ftw", tags);
}

/** 0 valid, 1 zero, 2 special (SDM vol. 1, 8.1.7). */
function tagOf(value: bigint): number {
  const exponent = value >> 64n & 0x7fffn;
  const integer = value >> 63n & 1n;
  if (exponent === 0n && BigInt.asUintN(64, value) === 0n) return 1;
  return exponent === 0n || exponent === 0x7fffn || integer === 0n ? 2 : 0;
}
