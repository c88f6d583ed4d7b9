/**
 * The tables of Intel's MultiProcessor Specification 1.4: kernels that know no ACPI (xv6, say) find processors and
 * the I/O APIC there. A BIOS puts them into memory; a guest that is booted without one gets these.
 */
import { ISA_TIMER } from "./isa_timer.ts";
import { checksum, type Field, lay } from "./acpi/tables.ts";

/** What the tables tell of. */
export interface MpMachine {
  /** Number of vCPUs; their APIC IDs count from 0. */
  readonly cpus: number;
  /** What CPUID leaf 1 says of them: EAX, and EDX. */
  readonly signature: number;
  readonly features: number;
  /** ISA interrupts that are level-triggered: those of PCI, and ACPI's. */
  readonly level: readonly number[];
}

/** APIC IDs are 8 bits, of which 0xff is everybody. */
export const MP_MOST_CPUS = 255;

const LOCAL_APIC = 0xfee0_0000;
const IO_APIC = 0xfec0_0000;
/** Version registers' low byte: an integrated APIC (4.3.1), and an 82093AA. */
const LOCAL_APIC_VERSION = 0x14;
const IO_APIC_VERSION = 0x11;
const IO_APIC_ID = 0;
/** Bytes of the floating pointer structure (4.1), which the configuration table follows. */
const POINTER_BYTES = 16;
const POINTER_CHECKSUM = 10;
const HEADER_BYTES = 44;
const HEADER_CHECKSUM = 7;

/** Entry types (table 4-3), and types of interrupt entries (table 4-10). */
const ENTRY = { PROCESSOR: 0, BUS: 1, IO_APIC: 2, IO_INTERRUPT: 3, LOCAL_INTERRUPT: 4 } as const;
const INTERRUPT = { INT: 0, NMI: 1, EXT_INT: 3 } as const;
/** CPU flags (4.3.1). */
const ENABLED_BIT = 1 << 0;
const BOOT_PROCESSOR_BIT = 1 << 1;
/** Polarity and trigger (4.3.4): as the bus has them, and active high with level. */
const CONFORMS = 0;
const HIGH_LEVEL = 0b1101;
const ISA_BUS = 0;
/** The second 8259's input at the first is no interrupt of its own: at the I/O APIC the timer has its place. */
const CASCADE = 2;
const EVERYBODY = 0xff;

/**
 * Floating pointer and configuration table, one behind the other.
 *
 * @param at Where they go, a multiple of 16 in 0xf0000 to 0xfffff.
 */
export function mpTable(machine: MpMachine, at: bigint): Uint8Array<ArrayBuffer> {
  const entries: Field[][] = [];
  for (let id = 0; id < machine.cpus; id++) {
    entries.push([
      [ENTRY.PROCESSOR, 1],
      [id, 1],
      [LOCAL_APIC_VERSION, 1],
      [ENABLED_BIT | (id === 0 ? BOOT_PROCESSOR_BIT : 0), 1],
      [machine.signature, 4],
      [machine.features, 4],
      [0, 8],
    ]);
  }
  entries.push([[ENTRY.BUS, 1], [ISA_BUS, 1], text("ISA", 6)]);
  entries.push([[ENTRY.IO_APIC, 1], [IO_APIC_ID, 1], [IO_APIC_VERSION, 1], [ENABLED_BIT, 1], [IO_APIC, 4]]);
  for (let irq = 0; irq < 16; irq++) {
    if (irq === CASCADE) continue;
    const flags = machine.level.includes(irq) ? HIGH_LEVEL : CONFORMS;
    const input = irq === ISA_TIMER.irq ? ISA_TIMER.input : irq;
    entries.push(interrupt(ENTRY.IO_INTERRUPT, INTERRUPT.INT, flags, irq, IO_APIC_ID, input));
  }
  // The 8259s at LINT0, NMI at LINT1 (4.3.5).
  entries.push(interrupt(ENTRY.LOCAL_INTERRUPT, INTERRUPT.EXT_INT, CONFORMS, 0, 0, 0));
  entries.push(interrupt(ENTRY.LOCAL_INTERRUPT, INTERRUPT.NMI, CONFORMS, 0, EVERYBODY, 1));

  const body = lay(entries.flat());
  const header = lay([
    text("PCMP", 4),
    [HEADER_BYTES + body.length, 2],
    [4, 1], // revision 1.4
    [0, 1],
    text("HVSH", 8),
    text("PC", 12),
    [0, 4], // no OEM table
    [0, 2],
    [entries.length, 2],
    [LOCAL_APIC, 4],
    [0, 4], // no extended entries
  ]);
  const configuration = new Uint8Array([...header, ...body]);
  configuration[HEADER_CHECKSUM] = checksum(configuration);
  const pointer = lay([
    text("_MP_", 4),
    [at + BigInt(POINTER_BYTES), 4],
    [POINTER_BYTES / 16, 1],
    [4, 1],
    [0, 1],
    [0, 1], // a configuration table is there
    [0, 4], // virtual wire mode
  ]);
  pointer[POINTER_CHECKSUM] = checksum(pointer);
  return new Uint8Array([...pointer, ...configuration]);
}

function interrupt(
  entry: number,
  type: number,
  flags: number,
  irq: number,
  apic: number,
  input: number,
): Field[] {
  return [[entry, 1], [type, 1], [flags, 2], [ISA_BUS, 1], [irq, 1], [apic, 1], [input, 1]];
}

/** Blank-filled, as the specification wants it. */
function text(characters: string, bytes: number): Uint8Array {
  return new TextEncoder().encode(characters.padEnd(bytes));
}
