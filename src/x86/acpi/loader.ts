/**
 * ACPI tables for firmware that decides where they lie: two files, and a third that says what to do with them (QEMU's
 * table loader: hw/acpi/bios-linker-loader.c; SeaBIOS: src/fw/romfile_loader.h).
 */
import { type AcpiPc, acpiTables, TABLES } from "./pc.ts";
import { type Field, lay } from "./tables.ts";

/** The three files, as fw_cfg names them. */
export interface AcpiFiles {
  readonly "etc/acpi/rsdp": Uint8Array<ArrayBuffer>;
  readonly "etc/acpi/tables": Uint8Array<ArrayBuffer>;
  readonly "etc/table-loader": Uint8Array<ArrayBuffer>;
}

const RSDP = "etc/acpi/rsdp";
const FILE = "etc/acpi/tables";
const RSDP_BYTES = 36;
/** Commands, each of 128 bytes, with names of 56. */
const COMMAND = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const;
const COMMAND_BYTES = 128;
const NAME_BYTES = 56;
/** Where memory is taken: below 4 GiB, or between 0xf0000 and 0xfffff, where kernels search for the root pointer. */
const ZONE = { HIGH: 1, F_SEGMENT: 2 } as const;
/** Offset of the checksum in a table, and of both in the root pointer, with what they sum (5.2.6, 5.2.5.3). */
const CHECKSUM = 9;
const ROOT_SUMS = [{ at: 8, length: 20 }, { at: 32, length: RSDP_BYTES }];

/**
 * The files for `pc`. What points at a table holds its offset in the tables' file, until firmware adds the address.
 * Checksums are 0 until then: SeaBIOS subtracts what the table sums to from the byte that is there, EDK II puts what that
 * needs in its place (OvmfPkg/AcpiPlatformDxe/QemuFwCfgAcpi.c).
 */
export function acpiFiles(pc: AcpiPc): AcpiFiles {
  const { bytes, pointers, summed } = acpiTables(pc, BigInt(-TABLES));
  for (const { at } of ROOT_SUMS) bytes[at] = 0;
  for (const { offset } of summed) bytes[offset + CHECKSUM] = 0;
  const place = (offset: number) =>
    offset < TABLES ? { file: RSDP, at: offset } : { file: FILE, at: offset - TABLES };
  const commands = [
    command(COMMAND.ALLOCATE, fileName(RSDP), [16, 4], [ZONE.F_SEGMENT, 1]),
    command(COMMAND.ALLOCATE, fileName(FILE), [TABLES, 4], [ZONE.HIGH, 1]),
    ...pointers.map(({ offset, bytes: size }) => {
      const { file, at } = place(offset);
      return command(COMMAND.ADD_POINTER, fileName(file), fileName(FILE), [at, 4], [size, 1]);
    }),
    ...summed.map(({ offset, length }) => {
      const { file, at } = place(offset);
      return command(COMMAND.ADD_CHECKSUM, fileName(file), [at + CHECKSUM, 4], [at, 4], [length, 4]);
    }),
    ...ROOT_SUMS.map(({ at, length }) =>
      command(COMMAND.ADD_CHECKSUM, fileName(RSDP), [at, 4], [0, 4], [length, 4])
    ),
  ];
  return {
    [RSDP]: bytes.slice(0, RSDP_BYTES),
    [FILE]: bytes.slice(TABLES),
    "etc/table-loader": lay(commands),
  };
}

function command(what: number, ...fields: Field[]): Uint8Array {
  const bytes = new Uint8Array(COMMAND_BYTES);
  bytes.set(lay([[what, 4], ...fields]));
  return bytes;
}

function fileName(name: string): Uint8Array {
  const bytes = new Uint8Array(NAME_BYTES);
  bytes.set(new TextEncoder().encode(name));
  return bytes;
}
