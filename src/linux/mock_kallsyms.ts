/** kallsyms' tables for tests, as scripts/kallsyms.c writes them. */
import type { KallsymsOrder } from "./kallsyms_layout.ts";
import type { KernelSymbol } from "./kallsyms.ts";

/** How the tables are made. */
export interface MockTables {
  readonly order: KallsymsOrder;
  /** kallsyms_relative_base. */
  readonly base: bigint;
  /** CONFIG_KALLSYMS_ABSOLUTE_PERCPU: addresses below the base are absolute. */
  readonly absolutePercpu: boolean;
}

/** Tokens: printable characters stand for themselves, some of the others for what is often in names. */
const COMMON = ["_start", "init", "__", "kernel", "_banner"];
const TOKENS = Array.from({ length: 256 }, (_, code) => {
  if (code > 0x20 && code < 0x7f) return String.fromCharCode(code);
  return code < COMMON.length ? COMMON[code] : `tk${code}`;
});

/** The tables in one piece, which has to lie at a multiple of 8. */
export function mockKallsyms(symbols: readonly KernelSymbol[], how: MockTables): Uint8Array {
  const out: number[] = [];
  const align = () => {
    while (out.length % 8 !== 0) out.push(0);
  };
  const u32 = (value: number) => {
    for (let i = 0; i < 4; i++) out.push(value >>> 8 * i & 0xff);
  };
  const offsets = () => {
    align();
    for (const { address } of symbols) u32(offsetOf(address, how));
    align();
    u32(Number(how.base & 0xffff_ffffn));
    u32(Number(how.base >> 32n));
  };
  if (how.order === "4.20") offsets();
  align();
  u32(symbols.length);
  align();
  const names = out.length;
  const markers: number[] = [];
  symbols.forEach(({ type, name }, i) => {
    if (i % 256 === 0) markers.push(out.length - names);
    const code = compress(type + name);
    if (code.length > 0x7f) out.push(code.length & 0x7f | 0x80, code.length >> 7);
    else out.push(code.length);
    out.push(...code);
  });
  align();
  markers.forEach(u32);
  align();
  const index: number[] = [];
  const table = out.length;
  for (const token of TOKENS) {
    index.push(out.length - table);
    out.push(...new TextEncoder().encode(token), 0);
  }
  align();
  for (const at of index) out.push(at & 0xff, at >> 8);
  if (how.order === "6.4") offsets();
  align();
  return Uint8Array.from(out);
}

function offsetOf(address: bigint, { base, absolutePercpu }: MockTables): number {
  if (!absolutePercpu) return Number(address - base);
  return address < base ? Number(address) : Number(BigInt.asUintN(32, base - 1n - address));
}

function compress(text: string): number[] {
  const code: number[] = [];
  for (let at = 0; at < text.length;) {
    const token = COMMON.findIndex((word) => text.startsWith(word, at));
    code.push(token < 0 ? text.charCodeAt(at) : token);
    at += token < 0 ? 1 : COMMON[token].length;
  }
  return code;
}
