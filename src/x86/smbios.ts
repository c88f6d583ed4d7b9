/**
 * What SMBIOS tells of a machine: its maker, its processors, where its memory lies. Firmware takes the structures from
 * here, puts its own beside them and writes the entry point's addresses and checksums.
 *
 * Specification: DMTF DSP0134, System Management BIOS Reference Specification, 2.8.0.
 */
import { type Field, lay } from "./acpi/tables.ts";

/** A machine, as SMBIOS describes it. */
export interface SmbiosMachine {
  /** One package with a core for each of them, as CPUID says too. */
  readonly cpus: number;
  /** Ranges of RAM, by address. */
  readonly ram: readonly { readonly start: bigint; readonly length: bigint }[];
}

/** Structures, and the entry point that leads to them. */
export interface SmbiosTables {
  /** 31 bytes (5.2.1). The address of the structures is 0, and so are the checksums: firmware sets them. */
  readonly anchor: Uint8Array<ArrayBuffer>;
  /** Every structure, the end included. */
  readonly structures: Uint8Array<ArrayBuffer>;
}

/** Types of structures (7). */
const TYPE = {
  SYSTEM: 1,
  CHASSIS: 3,
  PROCESSOR: 4,
  MEMORY_ARRAY: 16,
  MEMORY_DEVICE: 17,
  MAPPED_ADDRESS: 19,
  BOOT: 32,
  END: 127,
} as const;
/** Handles are the type and a count, so that each is there once. */
const handleOf = (type: number, index = 0): number => type << 8 | index;

const OTHER = 1;
const UNKNOWN = 2;
const NO_CACHE = 0xffff;
const NO_ERROR_INFORMATION = 0xfffe;
/** Sizes that do not fit their field are told in another (7.17, 7.18). */
const CAPACITY_ELSEWHERE = 0x8000_0000n;
const SIZE_ELSEWHERE = 0x7fff;
const SIZE_IN_KIB_BIT = 0x8000;
const KIB = 1n << 10n;
const MIB = 1n << 20n;

const ascii = (text: string) => new TextEncoder().encode(text);

/**
 * The structures of `machine`, for SeaBIOS's `etc/smbios/smbios-anchor` and `etc/smbios/smbios-tables`: without one of
 * type 0, which describes the firmware.
 */
export function smbiosTables(machine: SmbiosMachine): SmbiosTables {
  const all = [
    system(),
    chassis(),
    processor(machine.cpus),
    memoryArray(machine),
    memoryDevice(machine),
    ...machine.ram.map((range, i) => mapped(range, i)),
    structure(handleOf(TYPE.BOOT), [new Uint8Array(6), [0, 1]]), // no errors
    structure(handleOf(TYPE.END), []),
  ];
  const structures = lay(all);
  return {
    anchor: lay([
      ascii("_SM_"),
      [0, 1],
      [31, 1],
      [2, 1],
      [8, 1],
      [Math.max(...all.map((each) => each.length)), 2],
      [0, 1],
      new Uint8Array(5),
      ascii("_DMI_"),
      [0, 1],
      [structures.length, 2],
      [0, 4],
      [all.length, 2],
      [0x28, 1], // 2.8 in BCD
    ]),
    structures,
  };
}

/** Header, formatted part and the strings that it counts from 1 (6.1.2, 6.1.3). The handle begins with the type. */
function structure(handle: number, fields: readonly Field[], strings: readonly string[] = []): Uint8Array {
  const formatted = lay(fields);
  const text = strings.length === 0 ? "\0\0" : strings.map((each) => `${each}\0`).join("") + "\0";
  return lay([[handle >> 8, 1], [4 + formatted.length, 1], [handle, 2], formatted, ascii(text)]);
}

/** 7.2: no serial number, no UUID. */
function system(): Uint8Array {
  const POWER_SWITCH = 6;
  return structure(handleOf(TYPE.SYSTEM), [
    ...[[1, 1], [2, 1], [3, 1], [0, 1]] satisfies Field[],
    new Uint8Array(16),
    ...[[POWER_SWITCH, 1], [0, 1], [0, 1]] satisfies Field[],
  ], ["hvsh", "PC (i440FX, PIIX3)", "1"]);
}

/** 7.4. */
function chassis(): Uint8Array {
  const SAFE = 3;
  return structure(handleOf(TYPE.CHASSIS), [
    ...[[1, 1], [OTHER, 1], [0, 1], [0, 1], [0, 1]] satisfies Field[],
    ...[[SAFE, 1], [SAFE, 1], [SAFE, 1], [UNKNOWN, 1]] satisfies Field[],
    // OEM-defined; height and power cords unspecified; no elements; no SKU.
    ...[[0, 4], [0, 1], [0, 1], [0, 1], [0, 1], [0, 1]] satisfies Field[],
  ], ["hvsh"]);
}

/** 7.5: what CPUID says better is left open. */
function processor(cpus: number): Uint8Array {
  const CENTRAL = 3;
  const ENABLED = 0x41;
  const cores = Math.min(cpus, 255);
  return structure(handleOf(TYPE.PROCESSOR), [
    ...[[1, 1], [CENTRAL, 1], [OTHER, 1], [2, 1]] satisfies Field[],
    ...[[0, 8], [0, 1], [0, 1]] satisfies Field[], // identification, version, voltage
    ...[[0, 2], [0, 2], [0, 2], [ENABLED, 1], [OTHER, 1]] satisfies Field[], // clocks, status, upgrade
    ...[[NO_CACHE, 2], [NO_CACHE, 2], [NO_CACHE, 2]] satisfies Field[],
    ...[[0, 1], [0, 1], [0, 1]] satisfies Field[], // serial number, asset tag, part number
    ...[[cores, 1], [cores, 1], [cores, 1], [UNKNOWN << 1, 2], [OTHER, 2]] satisfies Field[],
  ], ["CPU 0", "hvsh"]);
}

function sum({ ram }: SmbiosMachine): bigint {
  return ram.reduce((bytes, { length }) => bytes + length, 0n);
}

/** 7.17: one array with all of the RAM. */
function memoryArray(machine: SmbiosMachine): Uint8Array {
  const SYSTEM_MEMORY = 3;
  const NO_CORRECTION = 3;
  const bytes = sum(machine);
  const fits = bytes / KIB < CAPACITY_ELSEWHERE;
  return structure(handleOf(TYPE.MEMORY_ARRAY), [
    ...[[OTHER, 1], [SYSTEM_MEMORY, 1], [NO_CORRECTION, 1]] satisfies Field[],
    ...[[fits ? bytes / KIB : CAPACITY_ELSEWHERE, 4], [NO_ERROR_INFORMATION, 2], [1, 2]] satisfies Field[],
    [fits ? 0 : bytes, 8],
  ]);
}

/** 7.18: one module. */
function memoryDevice(machine: SmbiosMachine): Uint8Array {
  const DIMM = 9;
  const RAM = 7;
  const DETAIL_OTHER = 1 << 1;
  const bytes = sum(machine);
  const size = bytes % MIB !== 0n && bytes / KIB < SIZE_ELSEWHERE
    ? Number(bytes / KIB) | SIZE_IN_KIB_BIT
    : Number(bytes / MIB < SIZE_ELSEWHERE ? bytes / MIB : SIZE_ELSEWHERE);
  return structure(handleOf(TYPE.MEMORY_DEVICE), [
    ...[[handleOf(TYPE.MEMORY_ARRAY), 2], [NO_ERROR_INFORMATION, 2]] satisfies Field[],
    ...[[0xffff, 2], [0xffff, 2], [size, 2], [DIMM, 1], [0, 1]] satisfies Field[], // widths unknown
    ...[[1, 1], [0, 1], [RAM, 1], [DETAIL_OTHER, 2], [0, 2]] satisfies Field[],
    ...[[2, 1], [0, 1], [0, 1], [0, 1], [0, 1]] satisfies Field[],
    ...[[size === SIZE_ELSEWHERE ? bytes / MIB : 0, 4], [0, 2]] satisfies Field[],
  ], ["DIMM 0", "hvsh"]);
}

/** 7.20: where a range of the array lies. */
function mapped({ start, length }: { start: bigint; length: bigint }, index: number): Uint8Array {
  const last = start + length - 1n;
  const fits = last / KIB < 0xffff_ffffn;
  return structure(handleOf(TYPE.MAPPED_ADDRESS, index), [
    ...(fits ? [[start / KIB, 4], [last / KIB, 4]] : [[0xffff_ffff, 4], [0xffff_ffff, 4]]) as Field[],
    ...[[handleOf(TYPE.MEMORY_ARRAY), 2], [1, 1]] satisfies Field[],
    ...(fits ? [[0, 8], [0, 8]] : [[start, 8], [last, 8]]) as Field[],
  ]);
}
