/**
 * The I/O APIC: 24 inputs that are sent as vectors, each by an entry of its redirection table.
 *
 * Data sheet: Intel 82093AA I/O Advanced Programmable Interrupt Controller, 290566-001; the EOI register is that of
 * version 0x20 (Intel 82801 family, "Advanced Interrupt Controller Registers").
 */
import type { Device, DeviceHost, DeviceRange, InterruptController } from "../vm/device.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import { numberOf, putNumber } from "./byte_device.ts";
import { bits, list, restoreRecord, saveRecord, type Shape } from "./state.ts";

const INPUTS = 24;
/** Offsets in its page. */
const SELECT = 0x00;
const WINDOW = 0x10;
const EOI = 0x40;
/** Registers behind IOREGSEL. */
const ID = 0x00;
const VERSION = 0x01;
const ARBITRATION = 0x02;
const TABLE = 0x10;
const ID_MASK = 0x0f00_0000;
/** Version 0x20, and the highest entry of the table. */
const VERSION_VALUE = 0x20 | (INPUTS - 1) << 16;

const VECTOR_MASK = 0xff;
const DELIVERY_MASK = 0x700;
/** Fixed and lowest priority; others go nowhere. */
const DELIVERY_LOWEST = 0x100;
const LOGICAL_BIT = 0x800;
/** Where in an entry's high half the destination is, and where in a message's address (SDM vol. 3A, 11.11.1). */
const DESTINATION_SHIFT = 24;
const MESSAGE_START = 0xfee0_0000;
const MESSAGE_DESTINATION_SHIFT = 12;
const MESSAGE_LOGICAL_BIT = 4;
const REMOTE_IRR_BIT = 0x4000;
const LEVEL_BIT = 0x8000;
const MASK_BIT = 0x1_0000;
/** What can be written: not delivery status and remote IRR. */
const LOW_MASK = 0x1_afff;
const HIGH_MASK = 0xff00_0000;
/** The timer is on input 2, as the ACPI and MP tables of firmware say. */
const TIMER = 0;
const TIMER_INPUT = 2;

const BITS = Object.fromEntries(
  Array.from({ length: INPUTS }, (_, i): [string, RegisterBits] => [`REDIR${i}`, {
    masked: MASK_BIT,
    level: LEVEL_BIT,
    remoteIRR: REMOTE_IRR_BIT,
    low: 0x2000,
    logical: 0x0800,
    mode: DELIVERY_MASK,
    vector: VECTOR_MASK,
  }]),
);

interface State {
  select: number;
  id: number;
  /** The halves of each entry. */
  low: number[];
  high: number[];
  /** Levels on the inputs. */
  lines: number;
}

const SHAPE: Shape<State> = {
  select: bits(8),
  id: bits(32),
  low: list(bits(17), INPUTS, INPUTS),
  high: list(bits(32), INPUTS, INPUTS),
  lines: bits(INPUTS),
};

/** What it is made of. */
export interface IoApicOptions {
  /** Default "ioapic". */
  readonly name?: string;
}

/** The controller at 0xfec00000. */
export class IoApic implements Device {
  /** "ioapic" unless told otherwise. */
  readonly name: string;
  /** Where its registers are. */
  readonly mmio: DeviceRange = { start: 0xfec0_0000, length: 0x1000 };
  /** Its inputs; it sends vectors by itself. */
  readonly controller: InterruptController;
  /** Names of the bits of what `inspect` shows. */
  readonly bits: Readonly<Record<string, RegisterBits>> = BITS;
  #host: DeviceHost | undefined;
  #state: State = powerOn();

  /** All inputs masked. @param options What it is made of. */
  constructor(options: IoApicOptions = {}) {
    this.name = options.name ?? "ioapic";
    this.controller = {
      inputs: INPUTS,
      line: (gsi) => {
        const set = (level: boolean) => {
          // Input 0 is the 8259's INTR on a board, 2 the timer's.
          if (gsi !== TIMER_INPUT) this.#set(gsi === TIMER ? TIMER_INPUT : gsi, level);
        };
        return { raise: () => set(true), lower: () => set(false) };
      },
    };
  }

  /** Finds the CPU. */
  attach(host: DeviceHost): void {
    this.#host = host;
  }

  /** Lets go of it. */
  detach(): void {
    this.#host = undefined;
  }

  /** The guest reads; registers have 32 bits, other widths read zeros. */
  read(offset: number, data: Uint8Array): void {
    data.fill(0);
    if (offset === SELECT) data[0] = this.#state.select;
    else if (offset === WINDOW && data.length === 4) putNumber(data, this.#register());
  }

  /** The guest writes; IOREGSEL takes its low byte, the others 32 bits. */
  write(offset: number, data: Uint8Array): void {
    if (offset === SELECT) this.#state.select = data[0];
    else if (data.length !== 4) return;
    else if (offset === WINDOW) this.#write(numberOf(data));
    else if (offset === EOI) this.#end(data[0]);
  }

  /** Everything masked. The lines stay as driven. */
  reset(): void {
    this.#state = { ...powerOn(), lines: this.#state.lines };
  }

  /** The table, and the levels. */
  save(): unknown {
    return saveRecord<State>("ioapic", 1, this.#state);
  }

  /** Takes what `save` gave. @throws {InputError} If the record is of another device or version, or damaged. */
  restore(saved: unknown): void {
    this.#state = restoreRecord("ioapic", 1, SHAPE, saved);
  }

  /** ID, and the low half of each entry. */
  inspect(): Record<string, number> {
    const { id, select, lines, low } = this.#state;
    return {
      ID: id >>> 24,
      IOREGSEL: select,
      lines,
      ...Object.fromEntries(low.map((entry, i) => [`REDIR${i}`, entry])),
    };
  }

  /** How many inputs are open. */
  summary(): string {
    return `${this.#state.low.filter((entry) => (entry & MASK_BIT) === 0).length} of ${INPUTS} inputs open`;
  }

  #register(): number {
    const { select, id, low, high } = this.#state;
    if (select === ID || select === ARBITRATION) return id;
    if (select === VERSION) return VERSION_VALUE;
    const entry = (select - TABLE) >> 1;
    if (entry < 0 || entry >= INPUTS) return 0;
    return select & 1 ? high[entry] : low[entry];
  }

  #write(value: number): void {
    const { select, low, high } = this.#state;
    if (select === ID) this.#state.id = (value & ID_MASK) >>> 0;
    const entry = (select - TABLE) >> 1;
    if (entry < 0 || entry >= INPUTS) return;
    if (select & 1) {
      high[entry] = (value & HIGH_MASK) >>> 0;
      return;
    }
    // An entry that becomes edge-triggered waits for no end of interrupt any more.
    const waits = value & LEVEL_BIT ? low[entry] & REMOTE_IRR_BIT : 0;
    low[entry] = value & LOW_MASK | waits;
    if (value & LEVEL_BIT) this.#offer(entry);
  }

  #set(input: number, level: boolean): void {
    const state = this.#state;
    const bit = 1 << input;
    const rises = level && (state.lines & bit) === 0;
    state.lines = level ? state.lines | bit : state.lines & ~bit;
    // The ends that a LAPIC is told of do not come here: who lets its line fall has been served.
    if (!level) state.low[input] &= ~REMOTE_IRR_BIT;
    if (state.low[input] & LEVEL_BIT) this.#offer(input);
    // An edge that comes while the entry is masked is lost (3.2.4).
    else if (rises && (state.low[input] & MASK_BIT) === 0) this.#send(input);
  }

  /** A level that is high and not being served is sent. */
  #offer(input: number): void {
    const { lines, low } = this.#state;
    if ((lines & 1 << input) === 0 || (low[input] & (MASK_BIT | REMOTE_IRR_BIT)) !== 0) return;
    low[input] |= REMOTE_IRR_BIT;
    this.#send(input);
  }

  #send(input: number): void {
    const { low: { [input]: low }, high: { [input]: high } } = this.#state;
    if ((low & DELIVERY_MASK) > DELIVERY_LOWEST) return;
    const destination = high >>> DESTINATION_SHIFT << MESSAGE_DESTINATION_SHIFT;
    const address = MESSAGE_START + destination + (low & LOGICAL_BIT ? MESSAGE_LOGICAL_BIT : 0);
    this.#host?.message?.(address, low & (DELIVERY_MASK | VECTOR_MASK));
  }

  /** The CPU has served a vector: levels that are still high are sent again. */
  #end(vector: number): void {
    this.#state.low.forEach((entry, i) => {
      if ((entry & (LEVEL_BIT | REMOTE_IRR_BIT)) !== (LEVEL_BIT | REMOTE_IRR_BIT)) return;
      if ((entry & VECTOR_MASK) !== vector) return;
      this.#state.low[i] &= ~REMOTE_IRR_BIT;
      this.#offer(i);
    });
  }
}

function powerOn(): State {
  return {
    select: 0,
    id: 0,
    low: new Array<number>(INPUTS).fill(MASK_BIT),
    high: new Array<number>(INPUTS).fill(0),
    lines: 0,
  };
}
