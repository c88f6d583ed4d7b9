/** Registers in packets: little-endian bytes in the order of the layout (GDB manual, E.2, packets `g` and `p`). */
import { checksum, HEX_DIGITS, toHex } from "../abi/rsp.ts";
import { HvshError } from "../vm/errors.ts";
import type { RegisterName, Registers, RegisterValues } from "../vm/registers.ts";
import { type GdbRegister, LAYOUT, numberOf } from "./layout.ts";
import { ascii, PacketError } from "./text.ts";

/** Bytes of all registers together. */
export const REGISTERS_BYTES: number = LAYOUT.reduce((sum, { bits }) => sum + bits / 8, 0);

/** What a stop reply carries, so that gdb need not ask: general registers, RIP and flags. */
const EXPEDITED = [
  ...["rip", "rsp", "rbp", "rax", "rbx", "rcx", "rdx", "rsi", "rdi"],
  ...["r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "eflags"],
].map(numberOf);

/** `10:0000000000000000;07:...;`: a stop reply's registers, whose digits are filled in. */
const EXPEDITED_TEXT = ascii(
  EXPEDITED.map((number) => {
    const { bits } = LAYOUT[number];
    return `${number.toString(16).padStart(2, "0")}:${"0".repeat(bits / 4)};`;
  }).join(""),
);

/** Digit pairs of a byte, by its value. */
const PAIRS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** One register's digits; `x` for each where it can't be had (no AVX on this host). */
export function readRegister(registers: Registers, number: number): string {
  return digits(registers, registerAt(number));
}

/** All registers' digits. */
export function readRegisters(registers: Registers): string {
  return LAYOUT.map((register) => digits(registers, register)).join("");
}

/** One register's value as bytes, least significant first. */
const value64 = new BigUint64Array(1);
const bytes64 = new Uint8Array(value64.buffer);

/** What those digits, all of them 0, and what stands between them add to a checksum. */
const EXPEDITED_SUM = checksum(EXPEDITED_TEXT);

/** The expedited registers' names here, and how many bytes of each are shown. */
const EXPEDITED_SOURCES = EXPEDITED.map((number) => ({
  source: LAYOUT[number].source,
  bytes: LAYOUT[number].bits / 8,
}));

/** A byte's digits, the first in the low half as a little-endian word has it, and what they add to a sum of zeros. */
const DIGITS_OF = Uint16Array.from(
  { length: 256 },
  (_, byte) => HEX_DIGITS[byte >> 4] | HEX_DIGITS[byte & 15] << 8,
);
const SUM_OF = Uint8Array.from(
  { length: 256 },
  (_, byte) => HEX_DIGITS[byte >> 4] + HEX_DIGITS[byte & 15] - 2 * HEX_DIGITS[0],
);

/**
 * A stop reply as a packet: `head`, at most 256 characters of ASCII without anything to escape, and the registers.
 * Written in one pass without strings and always in the same place, since a client that steps gets one for each
 * instruction.
 *
 * @returns Valid until the next call.
 */
export function expeditedFrame(head: string, registers: Registers): Uint8Array {
  const packet = replies.subarray(0, head.length + EXPEDITED_TEXT.length + 4);
  packet[0] = DOLLAR;
  let sum = EXPEDITED_SUM;
  for (let i = 0; i < head.length; i++) sum += packet[i + 1] = head.charCodeAt(i);
  let at = head.length + 1;
  packet.set(EXPEDITED_TEXT, at);
  for (const { source, bytes } of EXPEDITED_SOURCES) {
    value64[0] = registers[source];
    at += PREFIX;
    for (let i = 0; i < bytes; i++, at += 2) {
      const byte = bytes64[i];
      // Most bytes of most registers are the zeros that are there.
      if (byte === 0) continue;
      const digits = DIGITS_OF[byte];
      packet[at] = digits & 0xff;
      packet[at + 1] = digits >> 8;
      sum += SUM_OF[byte];
    }
    at++;
  }
  packet[at] = HASH;
  packet[at + 1] = HEX_DIGITS[sum >> 4 & 15];
  packet[at + 2] = HEX_DIGITS[sum & 15];
  return packet;
}

/** Where stop replies are written. */
const replies = new Uint8Array(EXPEDITED_TEXT.length + 4 + 256);

/** "10:" */
const PREFIX = 3;
const DOLLAR = 0x24;
const HASH = 0x23;

/** What one written register changes. @throws {PacketError} */
export function writtenRegister(registers: Registers, number: number, bytes: Uint8Array): RegisterValues {
  const register = registerAt(number);
  if (bytes.length !== register.bits / 8) {
    throw new PacketError(`${register.name} has ${register.bits / 8} bytes, not ${bytes.length}`);
  }
  return { [register.source]: replaced(registers[register.source], register, numberIn(bytes)) };
}

/** What a `G` packet changes: registers that keep their value are left alone. @throws {PacketError} */
export function writtenRegisters(registers: Registers, bytes: Uint8Array): RegisterValues {
  if (bytes.length < REGISTERS_BYTES) {
    throw new PacketError(`all registers have ${REGISTERS_BYTES} bytes, not ${bytes.length}`);
  }
  const values: { [name in RegisterName]?: bigint } = {};
  let at = 0;
  for (const register of LAYOUT) {
    const { source } = register;
    const given = numberIn(bytes.subarray(at, at + register.bits / 8));
    at += register.bits / 8;
    const present = values[source] ?? valueOf(registers, source);
    if (present === undefined) continue;
    const value = replaced(present, register, given);
    if (value !== present) values[source] = value;
  }
  return spared(values);
}

/** XMM registers are the low halves of YMM ones: where both are written, the whole one has the last word. */
function spared(values: { [name in RegisterName]?: bigint }): RegisterValues {
  for (let i = 0; i < 16; i++) {
    const low = values[`xmm${i}` as RegisterName];
    const whole = values[`ymm${i}` as RegisterName];
    if (low === undefined || whole === undefined) continue;
    values[`ymm${i}` as RegisterName] = whole >> 128n << 128n | low;
    delete values[`xmm${i}` as RegisterName];
  }
  return values;
}

function registerAt(number: number): GdbRegister {
  const register = LAYOUT[number];
  if (register === undefined) throw new PacketError(`there is no register ${number}`);
  return register;
}

function maskOf({ shown, bits }: GdbRegister): bigint {
  return (1n << BigInt(shown ?? bits)) - 1n;
}

function replaced(present: bigint, register: GdbRegister, given: bigint): bigint {
  const mask = maskOf(register);
  const shift = BigInt(register.shift ?? 0);
  return present & ~(mask << shift) | (given & mask) << shift;
}

function digits(registers: Registers, register: GdbRegister): string {
  const value = valueOf(registers, register.source);
  if (value === undefined) return "x".repeat(register.bits / 4);
  return littleEndianDigits(value >> BigInt(register.shift ?? 0) & maskOf(register), register.bits / 8);
}

/** A register's value, or undefined where this backend or host does not have it. */
function valueOf(registers: Registers, name: RegisterName): bigint | undefined {
  try {
    return registers[name];
  } catch (error) {
    if (error instanceof HvshError) return undefined;
    throw error;
  }
}

function littleEndianDigits(value: bigint, bytes: number): string {
  if (bytes === 8) {
    // Nearly all registers: two numbers are much faster than eight shifts of a bigint.
    return fourBytes(Number(value & 0xffff_ffffn)) + fourBytes(Number(value >> 32n));
  }
  const out = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i++, value >>= 8n) out[i] = Number(value & 0xffn);
  return String.fromCharCode(...toHex(out));
}

function fourBytes(value: number): string {
  return PAIRS[value & 255] + PAIRS[value >>> 8 & 255] + PAIRS[value >>> 16 & 255] + PAIRS[value >>> 24];
}

function numberIn(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = value << 8n | BigInt(bytes[i]);
  return value;
}
