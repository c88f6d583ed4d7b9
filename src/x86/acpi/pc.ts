/** What ACPI tells of a PC of ours: processors, interrupts, power, and the devices that can't be found by looking. */
import { ISA_TIMER } from "../isa_timer.ts";
import {
  type Aml,
  device,
  eisaId,
  integer,
  interrupt,
  io,
  irq,
  memory32,
  name,
  packageOf,
  resources,
  scope,
  string,
  window,
} from "./aml.ts";
import { type Field, portAddress, rootPointer, table } from "./tables.ts";

/** A virtio device over MMIO. */
export interface AcpiVirtio {
  /** Guest-physical address of its registers, below 4 GiB. */
  readonly at: bigint;
  /** Bytes of them. */
  readonly length: bigint;
  /** Global system interrupt. */
  readonly gsi: number;
}

/** PCI bus 0, by ports 0xcf8 and 0xcfc and perhaps by addresses. */
export interface AcpiPci {
  /** Where its functions' memory may be. */
  readonly memory: readonly { readonly first: bigint; readonly last: bigint }[];
  /** Where its configuration space is, a MiB for the bus; none if left out. */
  readonly ecam?: { readonly at: bigint; readonly length: bigint };
  /** The interrupts that PIRQ A to D lead to (PIIX3, 2.2.9): pin A of slot 1 is at PIRQ A, the next at B. */
  readonly pirqs: readonly [number, number, number, number];
}

/** A PC, as its tables describe it. */
export interface AcpiPc {
  /** Number of vCPUs; their APIC IDs count from 0. */
  readonly cpus: number;
  /** First port of the power management registers (PIIX4, 7.2), and their interrupt. */
  readonly pm: { readonly port: number; readonly sci: number };
  /** The PCI bus, if there is one. */
  readonly pci?: AcpiPci;
  /** The port that a kernel tells of a panic (QEMU's pvpanic), if there is one. */
  readonly panicPort?: number;
  /** virtio devices over MMIO. */
  readonly virtio: readonly AcpiVirtio[];
}

/** Tables and where they go. */
export interface AcpiImage {
  /** Guest-physical address: a multiple of 16, for a root pointer that is searched for. */
  readonly at: bigint;
  /** The root pointer first, then, from `TABLES` on, the tables. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where in `bytes` another one's address stands, and how many bytes it takes. */
  readonly pointers: readonly AcpiPointer[];
  /** Where in `bytes` tables with a checksum begin (at their offset 9, over all of their length). */
  readonly summed: readonly { readonly offset: number; readonly length: number }[];
}

/** A place that holds an address. */
export interface AcpiPointer {
  readonly offset: number;
  readonly bytes: 4 | 8;
}

/** Offset of the tables behind the root pointer: the FACS is the first, and wants a multiple of 64 (5.2.10). */
export const TABLES = 64;

const LOCAL_APIC = 0xfee0_0000;
const IO_APIC = 0xfec0_0000;
/** Interrupts that firmware leads PCI's pins to. */
const PCI_INTERRUPTS = [5, 10, 11] as const;
/** Offsets of the PIIX4's registers. */
const PM1_EVENT = 0;
const PM1_CONTROL = 4;
const PM_TIMER = 8;
/** Its APM control port, and what switches ACPI on and off there. */
const SMI_COMMAND = 0xb2;
const ACPI_ENABLE = 0xf1;
const ACPI_DISABLE = 0xf0;
/** Port 0xcf9 resets the machine (PIIX3, 2.5.4). */
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;

/** FADT flags (5.2.9, table 5.10). */
const FADT_FLAG = { WBINVD: 1 << 0, PROC_C1: 1 << 2, SLP_BUTTON: 1 << 5, RESET_REG_SUP: 1 << 10 } as const;
/** IA-PC boot architecture flags: legacy devices and a keyboard controller are there (table 5.11). */
const BOOT_ARCH = { LEGACY_DEVICES: 1 << 0, KEYBOARD: 1 << 1 } as const;

/** Offsets of FIRMWARE_CTRL, DSDT and X_DSDT in the FADT (5.2.9), and of the entries of RSDT and XSDT (5.2.7, 5.2.8). */
const FADT_POINTERS: readonly AcpiPointer[] = [
  { offset: 36, bytes: 4 },
  { offset: 40, bytes: 4 },
  { offset: 140, bytes: 8 },
];
const ENTRIES = 36;
/** Offsets of both tables of tables in the root pointer (5.2.5.3). */
const ROOT_POINTERS: readonly AcpiPointer[] = [{ offset: 16, bytes: 4 }, { offset: 24, bytes: 8 }];

/**
 * The tables for `pc` at `at`, where a kernel searches for them in 0xe0000 to 0xfffff (5.2.5.1), or wherever firmware
 * moves them to.
 *
 * @param at A multiple of 64.
 */
export function acpiTables(pc: AcpiPc, at: bigint): AcpiImage {
  const placed: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  const pointers: AcpiPointer[] = [...ROOT_POINTERS];
  let next = TABLES;
  /** Puts a table behind the others, and gives its address. */
  const place = (bytes: Uint8Array, addresses: readonly AcpiPointer[] = []): bigint => {
    const offset = next;
    placed.push({ offset, bytes });
    for (const each of addresses) pointers.push({ ...each, offset: offset + each.offset });
    next = offset + bytes.length + 15 & ~15;
    return at + BigInt(offset);
  };
  const facs = place(firmwareControl());
  const dsdt = place(table("DSDT", 2, [Uint8Array.from(description(pc))]));
  const described = [
    place(fixed(pc, facs, dsdt), FADT_POINTERS),
    place(interrupts(pc)),
    place(serialConsole()),
  ];
  if (pc.pci?.ecam !== undefined) described.push(place(configurationSpace(pc.pci.ecam)));
  const listed = (signature: string, bytes: 4 | 8) =>
    place(
      table(signature, 1, described.map((address): Field => [address, bytes])),
      described.map((_, i) => ({ offset: ENTRIES + bytes * i, bytes })),
    );
  const root = rootPointer(listed("RSDT", 4), listed("XSDT", 8));
  const bytes = new Uint8Array(next);
  bytes.set(root);
  for (const each of placed) bytes.set(each.bytes, each.offset);
  const [, ...summed] = placed.map((each) => ({ offset: each.offset, length: each.bytes.length }));
  return { at, bytes, pointers, summed };
}

/** FACS (5.2.10), version 2: nothing wakes up through it, but a kernel wants one. */
function firmwareControl(): Uint8Array {
  const bytes = new Uint8Array(64);
  bytes.set(new TextEncoder().encode("FACS"));
  bytes[4] = 64;
  bytes[32] = 2;
  return bytes;
}

/** FADT (5.2.9) of revision 3. */
function fixed({ pm }: AcpiPc, facs: bigint, dsdt: bigint): Uint8Array {
  const none = portAddress(0, 0);
  const { port, sci } = pm;
  return table("FACP", 3, [
    [facs, 4],
    [dsdt, 4],
    [0, 1],
    [0, 1], // no preferred profile
    [sci, 2],
    [SMI_COMMAND, 4],
    [ACPI_ENABLE, 1],
    [ACPI_DISABLE, 1],
    [0, 1],
    [0, 1],
    [port + PM1_EVENT, 4],
    [0, 4],
    [port + PM1_CONTROL, 4],
    [0, 4],
    [0, 4],
    [port + PM_TIMER, 4],
    [0, 4],
    [0, 4],
    [4, 1], // PM1_EVT_LEN
    [2, 1], // PM1_CNT_LEN
    [0, 1],
    [4, 1], // PM_TMR_LEN
    [0, 4],
    [0xfff, 2], // no C2
    [0xfff, 2], // no C3
    [0, 2],
    [0, 2],
    [0, 2],
    [0, 1], // no day alarm
    [0, 1],
    [0x32, 1], // the century's byte in the RTC
    [BOOT_ARCH.LEGACY_DEVICES | BOOT_ARCH.KEYBOARD, 2],
    [0, 1],
    [FADT_FLAG.WBINVD | FADT_FLAG.PROC_C1 | FADT_FLAG.SLP_BUTTON | FADT_FLAG.RESET_REG_SUP, 4],
    ...portAddress(RESET_PORT, 1),
    [RESET_VALUE, 1],
    [0, 2],
    [0, 1],
    [0, 8], // X_FIRMWARE_CTRL: the 32-bit one holds
    [dsdt, 8],
    ...portAddress(port + PM1_EVENT, 4),
    ...none,
    ...portAddress(port + PM1_CONTROL, 2),
    ...none,
    ...none,
    ...portAddress(port + PM_TIMER, 4),
    ...none,
    ...none,
  ]);
}

/**
 * MADT (5.2.12). ISA interrupts are wired to the I/O APIC's inputs of the same numbers, but for the timer's; PCI's and
 * ACPI's are level-triggered (5.2.12.5).
 */
function interrupts({ cpus, pm }: AcpiPc): Uint8Array {
  const PCAT_COMPAT = 1;
  const ENABLED = 1;
  const LEVEL_HIGH = 0x000d;
  const fields: Field[] = [[LOCAL_APIC, 4], [PCAT_COMPAT, 4]];
  for (let id = 0; id < cpus; id++) fields.push([0, 1], [8, 1], [id, 1], [id, 1], [ENABLED, 4]);
  fields.push([1, 1], [12, 1], [0, 1], [0, 1], [IO_APIC, 4], [0, 4]);
  const override = (
    irq: number,
    gsi: number,
    flags: number,
  ): Field[] => [[2, 1], [10, 1], [0, 1], [irq, 1], [gsi, 4], [flags, 2]];
  fields.push(...override(ISA_TIMER.irq, ISA_TIMER.input, 0));
  const level = [...new Set([...PCI_INTERRUPTS, pm.sci])].toSorted((a, b) => a - b);
  for (const irq of level) fields.push(...override(irq, irq, LEVEL_HIGH));
  fields.push([4, 1], [6, 1], [0xff, 1], [0, 2], [1, 1]); // NMI at LINT1 of all
  return table("APIC", 3, fields);
}

/** SPCR (Microsoft's Serial Port Console Redirection Table, revision 2): COM1. */
function serialConsole(): Uint8Array {
  const GAS: Field[] = [[1, 1], [8, 1], [0, 1], [1, 1], [0x3f8, 8]];
  return table("SPCR", 2, [
    [0, 1], // a full 16550
    Uint8Array.of(0, 0, 0),
    ...GAS,
    [1, 1], // by a PC-AT interrupt
    [4, 1],
    [4, 4],
    [7, 1], // 115200 bits a second
    [0, 1],
    [1, 1],
    [0, 1],
    [3, 1], // ANSI
    [0, 1],
    [0xffff, 2], // no PCI device
    [0xffff, 2],
    [0, 1],
    [0, 1],
    [0, 1],
    [0, 4],
    [0, 1],
    [0, 4],
  ]);
}

/** MCFG (PCI Firmware 3.2, 4.1.2): segment 0, bus 0. */
function configurationSpace({ at }: { readonly at: bigint }): Uint8Array {
  return table("MCFG", 1, [[0, 8], [at, 8], [0, 2], [0, 1], [0, 1], [0, 4]]);
}

/** DSDT: soft-off, ISA devices, the PCI bus, virtio. */
function description({ pci, panicPort, virtio }: AcpiPc): Aml {
  const isa = [
    device(
      "COM1",
      name("_HID", eisaId("PNP0501")),
      name("_UID", integer(1)),
      name("_CRS", resources(io(0x3f8, 8), irq(4))),
    ),
    device("RTC", name("_HID", eisaId("PNP0B00")), name("_CRS", resources(io(0x70, 2), irq(8)))),
    device("KBD", name("_HID", eisaId("PNP0303")), name("_CRS", resources(io(0x60, 1), io(0x64, 1), irq(1)))),
  ];
  if (panicPort !== undefined) isa.push(panic(panicPort));
  const bus = pci === undefined
    ? []
    : [hostBridge(pci), ...pci.ecam === undefined ? [] : [motherboard(pci.ecam)]];
  const mmio = virtio.map(({ at, length, gsi }, i) =>
    device(
      `VR${i.toString(16).toUpperCase().padStart(2, "0")}`,
      name("_HID", string("LNRO0005")),
      name("_UID", integer(i)),
      name("_CRS", resources(memory32(at, length), interrupt(gsi))),
    )
  );
  return [
    ...name("\\_S5", packageOf(integer(0), integer(0), integer(0), integer(0))),
    ...scope("\\_SB", ...isa, ...bus, ...mmio),
  ];
}

/** QEMU's pvpanic, by the name that Linux's driver knows it by. */
function panic(port: number): Aml {
  return device(
    "PEVT",
    name("_HID", string("QEMU0001")),
    name("_STA", integer(0xf)), // present, enabled, shown, working
    name("_CRS", resources(io(port, 1))),
  );
}

/** What belongs to no device of the bus: configuration space (PCI Firmware 3.2, 4.1.2 wants it told here). */
function motherboard(ecam: { readonly at: bigint; readonly length: bigint }): Aml {
  return device(
    "MBRD",
    name("_HID", eisaId("PNP0C02")),
    name("_UID", integer(0)),
    name("_CRS", resources(memory32(ecam.at, ecam.length))),
  );
}

/** The bus behind 0xcf8. */
function hostBridge({ memory, pirqs }: AcpiPci): Aml {
  const routes: Aml[] = [];
  for (let slot = 1; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      const gsi = pirqs[slot - 1 + pin & 3];
      routes.push(packageOf(integer(slot << 16 | 0xffff), integer(pin), integer(0), integer(gsi)));
    }
  }
  return device(
    "PCI0",
    name("_HID", eisaId("PNP0A03")),
    name("_UID", integer(0)),
    name(
      "_CRS",
      resources(
        window({ kind: "bus", first: 0n, last: 0n }),
        io(0xcf8, 8),
        window({ kind: "io", first: 0n, last: 0xcf7n }),
        window({ kind: "io", first: 0xd00n, last: 0xffffn }),
        window({ kind: "memory", first: 0xa0000n, last: 0xbffffn }),
        ...memory.map((range) => window({ kind: "memory", ...range })),
      ),
    ),
    name("_PRT", packageOf(...routes)),
  );
}
