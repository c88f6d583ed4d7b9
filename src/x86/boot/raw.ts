/** Images without a header: boot sectors, flat binaries and firmware. */
import type { Rom } from "../../vm/backend.ts";
import { InputError } from "../../vm/errors.ts";
import { withBiosData } from "./bios_data.ts";
import {
  arrange,
  type BootImage,
  type BootWrite,
  findRoom,
  hex,
  LOW_END,
  ramSpans,
  spanOf,
} from "./image.ts";
import { PageTables } from "./page_tables.ts";
import { gdt, longMode, protectedMode, realMode } from "./state.ts";

/** Where a BIOS puts a boot sector, and the CPU with it. */
const BOOT_SECTOR_AT = 0x7c00n;
/** The most a boot sector and what follows it may have: up to the end of conventional memory. */
const BOOT_SECTOR_LIMIT = Number(LOW_END - BOOT_SECTOR_AT);
/** Stack below or beside a flat image in protected and long mode. */
const STACK_SIZE = 0x4000n;
const FOUR_GIB = 1n << 32n;

function notEmpty(what: string, bytes: Uint8Array): void {
  if (bytes.length === 0) {
    throw new InputError(`The ${what} is empty`, { remedy: "give a file with contents" });
  }
}

/**
 * A boot sector, and what may follow it on its disk, at 0000:7c00 in real mode with DL = 0x80 (first hard
 * disk) and the stack below. There is no BIOS behind it: interrupt vectors are zero, and
 * only the BIOS data area is filled in.
 *
 * @param bytes 1 to 622,592 bytes; as they are, not only the first 512.
 * @param memory Bytes of RAM.
 * @throws {InputError} If the image is empty, too large, or does not fit into RAM.
 */
export function bootSectorImage(bytes: Uint8Array, memory: number): BootImage {
  notEmpty("boot sector", bytes);
  if (bytes.length > BOOT_SECTOR_LIMIT) {
    throw new InputError(
      `The boot sector has ${bytes.length} bytes; ${BOOT_SECTOR_LIMIT} fit between 0x7c00 and the end of ` +
        "conventional memory",
      { remedy: "give the first sectors only, or boot the disk through firmware" },
    );
  }
  const notes: string[] = [];
  if (bytes.length < 512 || bytes[510] !== 0x55 || bytes[511] !== 0xaa) {
    notes.push("the boot sector has no 55 aa at offset 510; a BIOS would not start it");
  }
  return {
    protocol: "boot-sector",
    writes: arrange(withBiosData([{ at: BOOT_SECTOR_AT, bytes, name: "boot sector" }], memory), memory),
    registers: { ...realMode(0n, BOOT_SECTOR_AT, 0n, BOOT_SECTOR_AT), rdx: 0x80n },
    notes,
  };
}

/** How a flat binary is started. */
export interface FlatOptions {
  /** Guest-physical address of its first byte, where it is also entered: 0x1000 in real mode, else 0x100000. */
  readonly at?: bigint | number;
  /** Real if left out. */
  readonly mode?: "real" | "protected" | "long";
  /** Bytes of RAM. */
  readonly memory: number;
}

/**
 * A flat binary, entered at its first byte.
 *
 * - real: CS:IP is 0:at below 64 KiB, at/16:at%16 above; the other segments are 0, the stack is at 0:at, or,
 *   for an image below 0x1000 or above 64 KiB, at 9000:fc00.
 * - protected: flat 4 GiB segments, paging off.
 * - long: the first 4 GiB mapped to themselves in 2 MiB pages, everything allowed at every privilege level.
 *
 * In the last two a GDT, a stack of 16 KiB and the page tables are put right below 640 KiB, or, if the image is
 * there, beside it; RSP is at the stack's end.
 *
 * @throws {InputError} If the image is empty, or it or what it needs does not fit.
 */
export function flatImage(bytes: Uint8Array, options: FlatOptions): BootImage {
  notEmpty("flat binary", bytes);
  const { mode = "real", memory } = options;
  const at = BigInt(options.at ?? (mode === "real" ? 0x1000 : 0x100000));
  const image: BootWrite = { at, bytes, name: "flat binary" };
  const writes = arrange([image], memory);
  if (mode === "real") {
    if (at >= 0x100000n) {
      throw new InputError(`A flat binary at ${hex(at)} can't be entered in real mode`, {
        remedy: 'load it below 0x100000, or use mode "protected"',
      });
    }
    const low = at < 0x10000n;
    const near = at >= 0x1000n && low;
    const [ss, sp] = near ? [0n, at] : memory >= LOW_END ? [0x9000n, 0xfc00n] : [0n, 0n];
    const [cs, ip] = low ? [0n, at] : [at >> 4n, at & 0xfn];
    return { protocol: "flat", writes, registers: realMode(cs, ip, ss, sp), notes: [] };
  }
  if (at + BigInt(bytes.length) > FOUR_GIB) {
    throw new InputError(
      `A flat binary at ${hex(at)} lies above 4 GiB, which mode "${mode}" does not reach`,
      {
        remedy: "load it below 4 GiB",
      },
    );
  }
  return { protocol: "flat", notes: [], ...enterFlat(mode, at, writes, memory) };
}

/** Adds GDT, stack and page tables to `writes`, and gives the state to enter `entry` with. */
export function enterFlat(
  mode: "protected" | "long",
  entry: bigint,
  writes: readonly BootWrite[],
  memory: number,
  extra: readonly { vaddr: bigint; paddr: bigint; size: bigint }[] = [],
): Pick<BootImage, "writes" | "registers"> {
  const tables = new PageTables();
  if (mode === "long") {
    tables.map(0n, 0n, FOUR_GIB);
    for (const m of extra) tables.map(m.vaddr, m.paddr, m.size);
  }
  const tableSize = mode === "long" ? tables.size : 0n;
  const block = findRoom(
    "GDT, stack and page tables",
    STACK_SIZE + 0x1000n + tableSize,
    writes.map(spanOf),
    memory,
  );
  const rsp = block + STACK_SIZE;
  const gdtAt = rsp;
  const cr3 = gdtAt + 0x1000n;
  const all: BootWrite[] = [...writes, { at: gdtAt, bytes: gdt(), name: "GDT" }];
  if (mode === "long") all.push({ at: cr3, bytes: tables.bytes(cr3), name: "page tables" });
  return {
    writes: arrange(all, memory),
    registers: mode === "long" ? longMode(entry, rsp, gdtAt, cr3) : protectedMode(entry, rsp, gdtAt),
  };
}

const FIRMWARE_LIMIT = 16 << 20;
/** How much of the firmware's end is also below 1 MiB (QEMU's isa-bios). */
const ISA_BIOS = 128 << 10;

/**
 * Firmware: read-only, ending at 4 GiB, where the reset vector is; its last 128 KiB (or all of it) are also below
 * 1 MiB: in RAM, and as ROM over it for a machine whose chipset can swap them. The vCPU stays in its reset state.
 *
 * @param bytes A multiple of 4096, 16 MiB at most.
 * @param memory Bytes of RAM.
 * @throws {InputError} If the size is wrong, or the guest has less than 1 MiB.
 */
export function firmwareImage(bytes: Uint8Array, memory: number): BootImage {
  notEmpty("firmware", bytes);
  if (bytes.length % 4096 !== 0 || bytes.length > FIRMWARE_LIMIT) {
    throw new InputError(
      `The firmware has ${bytes.length} bytes; it must be a multiple of 4096 and ${FIRMWARE_LIMIT} at most`,
      { remedy: "give a whole ROM image, such as /usr/share/seabios/bios.bin" },
    );
  }
  if (ramSpans(memory)[0].size < 0x100000n) {
    throw new InputError(`A guest with firmware needs 1 MiB of memory or more; it has ${memory} bytes`, {
      remedy: "give the guest more memory (-m)",
    });
  }
  const isa = bytes.subarray(bytes.length - Math.min(bytes.length, ISA_BIOS));
  const rom: Rom = { name: "firmware", at: FOUR_GIB - BigInt(bytes.length), bytes };
  const low: Rom = { name: "firmware-low", at: 0x100000n - BigInt(isa.length), bytes: isa, shadow: true };
  return {
    protocol: "firmware",
    writes: arrange(
      [{ at: 0x100000n - BigInt(isa.length), bytes: isa, name: "firmware below 1 MiB" }],
      memory,
    ),
    roms: [rom, low],
    registers: {},
    notes: bytes.length % 0x10000 === 0
      ? []
      : ["the firmware's size is no multiple of 64 KiB, as a ROM's would be"],
  };
}
