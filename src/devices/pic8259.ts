/**
 * The interrupt controllers of a PC: two Intel 8259A, the second on input 2 of the first, and the edge/level
 * registers of the PIIX3.
 *
 * Data sheet: Intel 8259A Programmable Interrupt Controller, 231468-003; Intel 82371SB (PIIX3), 2.5.3
 * (ELCR1, ELCR2: they take the place of ICW1's LTIM bit).
 */
import type { ChipsAtStart } from "../vm/backend.ts";
import type { DeviceRange, InterruptController, InterruptLine } from "../vm/device.ts";
import type { RegisterBits } from "../vm/register_bits.ts";
import { ByteDevice } from "./byte_device.ts";
import { PIC_SHAPE, PicChip, type PicState } from "./pic_chip.ts";
import { list, record, restoreRecord, saveRecord, type Shape } from "./state.ts";

const FIRST: DeviceRange = { start: 0x20, length: 2 };
const SECOND: DeviceRange = { start: 0xa0, length: 2 };
const EDGE_LEVEL: DeviceRange = { start: 0x4d0, length: 2 };

const INPUTS = 16;
/** The input of the first chip that the second is on. */
const CASCADE = 2;
/** A request that is gone when the CPU asks: the vector of input 7, without anything in service. */
const SPURIOUS = 7;
/** Timer, keyboard, cascade, clock and FPU are always edge-triggered. */
const LEVEL_MASKS = [0xf8, 0xde] as const;

interface State {
  chips: PicState[];
}

const SHAPE: Shape<State> = { chips: list(record(PIC_SHAPE), 2, 2) };

/** The vectors that a BIOS gives to the inputs of each. */
const BIOS_BASES = [0x08, 0x70] as const;

const BITS = Object.fromEntries([1, 2].flatMap((n) => {
  const inputs = Object.fromEntries(Array.from({ length: 8 }, (_, i) => [`IRQ${i + 8 * (n - 1)}`, 1 << i]));
  return ["IRR", "IMR", "ISR", "ELCR", "lines"].map((
    name,
  ): [string, RegisterBits] => [`${name}${n}`, inputs]);
}));

/** What the pair is wired to. */
export interface Pic8259Options {
  /** Default "pic". */
  readonly name?: string;
  /** The CPU's INTR input. */
  readonly cpu?: InterruptLine;
  /** The CPU took the interrupt of input `irq`. */
  readonly onAcknowledge?: (irq: number) => void;
  /** Whether they are initialised, nothing masked, for a guest started without firmware: vectors 0x08 and 0x70. */
  readonly configured?: boolean;
  /** What is masked and level-triggered from the start, if `configured`: the first chip, the second. */
  readonly start?: NonNullable<ChipsAtStart["pic"]>;
}

/** Both controllers at ports 0x20, 0xa0 and 0x4d0. */
export class Pic8259 extends ByteDevice {
  /** "pic" unless told otherwise. */
  readonly name: string;
  /** The ports it answers at. */
  readonly ports: readonly DeviceRange[] = [FIRST, SECOND, EDGE_LEVEL];
  /** The inputs by number, in what `inspect` shows. */
  readonly bits: Readonly<Record<string, RegisterBits>> = BITS;
  /** Its inputs, and its way to the CPU. */
  readonly controller: InterruptController;
  readonly #options: Pic8259Options;
  readonly #first = new PicChip(1 << CASCADE);
  readonly #second = new PicChip(0);
  #requesting = false;

  /** @param options What it is made of. */
  constructor(options: Pic8259Options = {}) {
    super();
    this.#options = options;
    this.name = options.name ?? "pic";
    this.controller = { inputs: INPUTS, line: (irq) => this.line(irq), cpu: this };
    this.#powerOn();
  }

  /** Whether INTR is high: the CPU shall call `acknowledge` when it can take an interrupt. */
  get requesting(): boolean {
    return this.#requesting;
  }

  /** Input `irq`, 0..15; 2 belongs to the second chip and goes nowhere. */
  line(irq: number): InterruptLine {
    const set = (level: boolean) => {
      if (irq === CASCADE) return;
      if (irq < 8) this.#first.setLine(irq, level);
      else this.#second.setLine(irq & 7, level);
      this.#update();
    };
    return { raise: () => set(true), lower: () => set(false) };
  }

  /** The CPU's interrupt acknowledge cycles: gives the vector, and puts the request in service. */
  acknowledge(): number {
    const irq = this.#first.acknowledge();
    let vector = this.#first.vector(irq ?? SPURIOUS);
    let source = irq;
    if (irq === CASCADE) {
      const behind = this.#second.acknowledge();
      vector = this.#second.vector(behind ?? SPURIOUS);
      source = behind === undefined ? undefined : behind + 8;
    }
    this.#update();
    if (source !== undefined) this.#options.onAcknowledge?.(source);
    return vector;
  }

  /** The guest reads a register. */
  protected readByte(offset: number, range: DeviceRange): number {
    if (range.start === EDGE_LEVEL.start) {
      return (offset === 0 ? this.#first : this.#second).levelTriggered & LEVEL_MASKS[offset & 1];
    }
    const value = (range.start === FIRST.start ? this.#first : this.#second).read(offset);
    this.#update();
    return value;
  }

  /** The guest writes a register. */
  protected writeByte(offset: number, value: number, range: DeviceRange): void {
    if (range.start === EDGE_LEVEL.start) {
      (offset === 0 ? this.#first : this.#second).levelTriggered = value & LEVEL_MASKS[offset & 1];
      // The cascade is an edge in the book, but nothing is lost if it is taken as a level.
      this.#cascade();
    } else {
      (range.start === FIRST.start ? this.#first : this.#second).write(offset, value);
    }
    this.#update();
  }

  /** Uninitialised: nothing masked, nothing in service, all inputs edge-triggered. The lines stay as driven. */
  reset(): void {
    this.#first.reset();
    this.#second.reset();
    this.#powerOn();
    this.#update();
  }

  /** Both chips. */
  save(): unknown {
    return saveRecord<State>("pic8259", 1, { chips: [this.#first.state, this.#second.state] });
  }

  /** @throws {InputError} If the record is of another device or version, or damaged. */
  restore(saved: unknown): void {
    const { chips: [first, second] } = restoreRecord("pic8259", 1, SHAPE, saved);
    this.#first.state = first;
    this.#second.state = second;
    this.#update();
  }

  /** What the CPU is asked for and busy with. */
  summary(): string {
    const serving = [this.#first, this.#second].flatMap((chip, n) =>
      [...Array(8).keys()].filter((i) => chip.state.isr & 1 << i && (n > 0 || i !== CASCADE)).map((i) =>
        i + 8 * n
      )
    );
    const said = [this.#requesting ? "INTR high" : "INTR low"];
    if (serving.length > 0) said.push(`in service ${serving.join(", ")}`);
    return said.join(", ");
  }

  /** IRR, IMR, ISR and vector base of each, and the edge/level registers. */
  inspect(): Record<string, number> {
    const shown: Record<string, number> = { INTR: this.#requesting ? 1 : 0 };
    for (const [n, chip] of [[1, this.#first], [2, this.#second]] as const) {
      const { irr, imr, isr, base, level, lines } = chip.state;
      const registers = { IRR: irr, IMR: imr, ISR: isr, base, ELCR: level & LEVEL_MASKS[n - 1], lines };
      for (const [name, value] of Object.entries(registers)) shown[`${name}${n}`] = value;
    }
    return shown;
  }

  #powerOn(): void {
    const { configured, start } = this.#options;
    if (configured) {
      [this.#first, this.#second].forEach((chip, i) =>
        chip.state = {
          ...chip.state,
          base: BIOS_BASES[i],
          imr: start?.masks[i] ?? 0,
          level: start?.level[i] ?? 0,
        }
      );
    }
    this.#cascade();
  }

  #cascade(): void {
    this.#first.levelTriggered |= 1 << CASCADE;
  }

  #update(): void {
    this.#first.setLine(CASCADE, this.#second.requesting);
    const requesting = this.#first.requesting;
    if (requesting === this.#requesting) return;
    this.#requesting = requesting;
    if (requesting) this.#options.cpu?.raise();
    else this.#options.cpu?.lower();
  }
}
