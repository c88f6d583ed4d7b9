/** Where a guest stands, as plain text: for the failures of tests. */
import { printable, printableName } from "../vm/printable.ts";
import type { Registers } from "../vm/registers.ts";
import type { Stop } from "../vm/stop.ts";
import { bitness, linearRip, linearStack } from "../x86/mode.ts";
import type { GuestMachine } from "./machine.ts";

const ROWS = [
  ["rax", "rbx", "rcx", "rdx"],
  ["rsi", "rdi", "rbp", "rsp"],
  ["rip", "rflags", "cr0", "cr3"],
  ["cs", "ds", "es", "ss"],
] as const;

const INSTRUCTIONS = 4;
const STACK_WORDS = 4;
const FRAMES = 8;
const LAST_ACCESSES = 8;
const LAST_LINES = 8;

/** A stop in a few words. */
export function told(stop: Stop): string {
  const detail = "reason" in stop
    ? `: ${printableName(stop.reason)}`
    : stop.kind === "exit"
    ? ` with code ${stop.code}`
    : "";
  return `${stop.kind}${detail}`;
}

/**
 * Registers, code, stack, backtrace, the newest accesses and the end of the console; after a triple fault also what
 * is known of it. A part that can't be had says why.
 *
 * @throws {StateError} If the guest runs or is closed.
 */
export async function report(vm: GuestMachine): Promise<string> {
  const { lastStop } = vm;
  const registers = await vm.vcpus[lastStop?.vcpu.index ?? 0].registers();
  const lines = [
    `  ${vm.backend}, ${lastStop === undefined ? "not started" : `stopped by ${told(lastStop)}`}`,
  ];
  for (const row of ROWS) {
    lines.push("  " + row.map((n) => `${n} ${registers[n].toString(16)}`.padEnd(24)).join(""));
  }
  const fatal = lastStop?.kind === "shutdown" && lastStop.reason === "triple-fault";
  if (fatal) lines.push("  triple fault:", ...await part(() => postMortem(vm)));
  const here = named(vm, linearRip(registers));
  lines.push(`  code${here === "" ? "" : ` in${here}`}:`, ...await part(() => code(vm, registers)));
  lines.push("  stack:", ...await part(() => stack(vm, registers)));
  lines.push("  backtrace:", ...await part(() => calls(vm)));
  const accesses = vm.trace.entries({ last: LAST_ACCESSES }).map((e) =>
    `${e.kind} ${e.write ? "write" : "read"} 0x${e.address.toString(16)} = 0x${e.value.toString(16)}` +
    ` at 0x${e.rip.toString(16)}${named(vm, e.rip)}${e.device === undefined ? "" : ` (${e.device})`}`
  );
  lines.push("  last exits:", ...indent(accesses));
  lines.push(
    "  console:",
    ...indent(vm.console.text.split(/\r?\n/).filter((l) => l !== "").slice(-LAST_LINES).map(printable)),
  );
  return lines.map((line) => line.trimEnd()).join("\n");
}

/** The symbol at an address with a blank in front, or nothing. */
function named(vm: GuestMachine, address: bigint): string {
  const symbol = vm.symbols.format(address);
  return symbol === undefined ? "" : ` <${symbol}>`;
}

/** What can't be shown must not hide the rest, nor the failure that is reported. */
async function part(body: () => Promise<string[]>): Promise<string[]> {
  try {
    return indent(await body());
  } catch (error) {
    return indent([error instanceof Error ? error.message : String(error)]);
  }
}

function indent(lines: readonly string[]): string[] {
  return lines.length === 0 ? ["    none"] : lines.map((line) => `    ${line}`);
}

async function code(vm: GuestMachine, registers: Registers): Promise<string[]> {
  const found = await vm.disassemble(linearRip(registers), { count: INSTRUCTIONS });
  return found.map((i, n) => `${n === 0 ? "->" : "  "} 0x${i.address.toString(16)}  ${i.text}`);
}

async function stack(vm: GuestMachine, registers: Registers): Promise<string[]> {
  const { memory } = vm.vcpus[vm.lastStop?.vcpu.index ?? 0];
  const bytes = bitness(registers) / 8;
  const lines: string[] = [];
  for (let i = 0; i < STACK_WORDS; i++) {
    const at = linearStack(registers) + BigInt(i * bytes);
    const value = await memory.readUint(BigInt.asUintN(64, at), bytes);
    lines.push(`0x${at.toString(16)}  0x${value.toString(16).padStart(bytes * 2, "0")}${named(vm, value)}`);
  }
  return lines;
}

async function calls(vm: GuestMachine): Promise<string[]> {
  const { frames } = await vm.backtrace({ limit: FRAMES });
  return frames.map(({ address }, i) => `#${i}  0x${address.toString(16)}${named(vm, address)}`);
}

async function postMortem(vm: GuestMachine): Promise<string[]> {
  const found = await vm.autopsy();
  const last = found.vector === undefined ? [] : [`last exception: vector ${found.vector}`];
  const entries = found.entries.map(({ vector, address, bytes, error }) =>
    `vector ${vector} at 0x${address.toString(16)}: ${bytes === undefined ? error : hexBytes(bytes)}`
  );
  return [
    `probably: ${found.verdict}`,
    ...last,
    `CR2 0x${found.cr2.toString(16)}, IDT at 0x${found.idtrBase.toString(16)} limit 0x${
      found.idtrLimit.toString(16)
    }`,
    ...entries,
  ];
}

function hexBytes(bytes: Uint8Array): string {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(" ");
}
