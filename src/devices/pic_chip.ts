/**
 * One 8259A: requests, masks, priorities and its command words.
 *
 * Data sheet: Intel 8259A Programmable Interrupt Controller, 231468-003.
 */
import { bits, flag, integer, type Shape } from "./state.ts";

/** Offsets: A0 of the chip. */
const COMMAND = 0;

const ICW1_BIT = 0x10;
const ICW1_NEEDS_ICW4_BIT = 0x01;
const ICW1_SINGLE_BIT = 0x02;
const ICW2_BASE_MASK = 0xf8;
const ICW4_AUTO_EOI_BIT = 0x02;
const ICW4_FULLY_NESTED_BIT = 0x10;
/** OCW2: R, SL and EOI in bits 7:5, the level in 2:0. */
const OCW2_ROTATE_BIT = 0x80;
const OCW2_SPECIFIC_BIT = 0x40;
const OCW2_EOI_BIT = 0x20;
const OCW3_BIT = 0x08;
const OCW3_SPECIAL_MASK_ENABLE_BIT = 0x40;
const OCW3_SPECIAL_MASK_BIT = 0x20;
const OCW3_POLL_BIT = 0x04;
const OCW3_READ_BIT = 0x02;
const OCW3_READ_ISR_BIT = 0x01;
const POLL_REQUEST_BIT = 0x80;

/** One chip's state. */
export interface PicState {
  irr: number;
  imr: number;
  isr: number;
  /** Levels on the inputs. */
  lines: number;
  /** Which inputs are level-triggered. */
  level: number;
  base: number;
  /** The initialisation word that comes next at A0 = 1: 2, 3, 4, or 0. */
  expects: number;
  needsIcw4: boolean;
  single: boolean;
  autoEoi: boolean;
  fullyNested: boolean;
  rotateOnAutoEoi: boolean;
  specialMask: boolean;
  readIsr: boolean;
  poll: boolean;
  /** The input with the lowest priority; 7 after initialisation. */
  lowest: number;
}

/** What a saved chip must look like. */
export const PIC_SHAPE: Shape<PicState> = {
  irr: bits(8),
  imr: bits(8),
  isr: bits(8),
  lines: bits(8),
  level: bits(8),
  base: bits(8),
  expects: integer(0, 4),
  needsIcw4: flag,
  single: flag,
  autoEoi: flag,
  fullyNested: flag,
  rotateOnAutoEoi: flag,
  specialMask: flag,
  readIsr: flag,
  poll: flag,
  lowest: bits(3),
};

/** One 8259A, in 8086 mode. */
export class PicChip {
  #state: PicState = powerOn();
  readonly #cascaded: number;

  /** @param cascaded The inputs that have another chip on them, a bit each. */
  constructor(cascaded: number) {
    this.#cascaded = cascaded;
  }

  /** A copy of the state. */
  get state(): PicState {
    return { ...this.#state };
  }

  set state(state: PicState) {
    this.#state = state;
  }

  /** Which inputs are level-triggered. */
  get levelTriggered(): number {
    return this.#state.level;
  }

  set levelTriggered(mask: number) {
    this.#state.level = mask;
  }

  /** Whether INT is high. */
  get requesting(): boolean {
    return this.#next() !== undefined;
  }

  /** The vector of an input. */
  vector(irq: number): number {
    return this.#state.base | irq;
  }

  /**
   * Drives an input. An edge is remembered until it is taken, also when the input goes low before: so do the
   * hypervisors' chips, where the data sheet has a spurious interrupt.
   */
  setLine(irq: number, level: boolean): void {
    const state = this.#state;
    const bit = 1 << irq;
    const was = state.lines & bit;
    state.lines = level ? state.lines | bit : state.lines & ~bit;
    if (state.level & bit) state.irr = level ? state.irr | bit : state.irr & ~bit;
    else if (level && !was) state.irr |= bit;
  }

  /** The request that INTA takes, put in service; undefined if there is none any more. */
  acknowledge(): number | undefined {
    const irq = this.#next();
    if (irq === undefined) return undefined;
    const state = this.#state;
    const bit = 1 << irq;
    if (!(state.level & bit)) state.irr &= ~bit;
    if (!state.autoEoi) state.isr |= bit;
    else if (state.rotateOnAutoEoi) state.lowest = irq;
    return irq;
  }

  /** The guest reads. */
  read(offset: number): number {
    const state = this.#state;
    if (state.poll) {
      state.poll = false;
      const irq = this.acknowledge();
      return irq === undefined ? 0 : POLL_REQUEST_BIT | irq;
    }
    if (offset !== COMMAND) return state.imr;
    return state.readIsr ? state.isr : state.irr;
  }

  /** The guest writes. */
  write(offset: number, value: number): void {
    if (offset !== COMMAND) this.#writeData(value);
    else if (value & ICW1_BIT) this.#initialise(value);
    else if (value & OCW3_BIT) this.#writeOcw3(value);
    else this.#writeOcw2(value);
  }

  /** As after power-on; the lines stay as they are driven. */
  reset(): void {
    const { lines } = this.#state;
    this.#state = { ...powerOn(), lines };
  }

  /** ICW1: edge sense starts again, masks and modes are cleared, IR7 is lowest. */
  #initialise(value: number): void {
    const { lines, level, base } = this.#state;
    this.#state = {
      ...powerOn(),
      lines,
      level,
      base,
      irr: lines & level,
      expects: 2,
      needsIcw4: (value & ICW1_NEEDS_ICW4_BIT) !== 0,
      single: (value & ICW1_SINGLE_BIT) !== 0,
    };
  }

  #writeData(value: number): void {
    const state = this.#state;
    const last = state.needsIcw4 ? 4 : 0;
    switch (state.expects) {
      case 2:
        state.base = value & ICW2_BASE_MASK;
        state.expects = state.single ? last : 3;
        return;
      case 3:
        // Where the second chip is: wired, whatever is written.
        state.expects = last;
        return;
      case 4:
        state.autoEoi = (value & ICW4_AUTO_EOI_BIT) !== 0;
        state.fullyNested = (value & ICW4_FULLY_NESTED_BIT) !== 0;
        state.expects = 0;
        return;
      default:
        state.imr = value;
    }
  }

  #writeOcw2(value: number): void {
    const state = this.#state;
    const rotate = (value & OCW2_ROTATE_BIT) !== 0;
    const specific = (value & OCW2_SPECIFIC_BIT) !== 0;
    if (value & OCW2_EOI_BIT) {
      const irq = specific ? value & 7 : this.#inService();
      if (irq === undefined) return;
      state.isr &= ~(1 << irq);
      if (rotate) state.lowest = irq;
    } else if (specific) {
      if (rotate) state.lowest = value & 7;
    } else {
      state.rotateOnAutoEoi = rotate;
    }
  }

  #writeOcw3(value: number): void {
    const state = this.#state;
    if (value & OCW3_SPECIAL_MASK_ENABLE_BIT) state.specialMask = (value & OCW3_SPECIAL_MASK_BIT) !== 0;
    if (value & OCW3_POLL_BIT) state.poll = true;
    if (value & OCW3_READ_BIT) state.readIsr = (value & OCW3_READ_ISR_BIT) !== 0;
  }

  /** Place of the first set bit in order of priority: 0 is the highest; 8 if none is set. */
  #priority(mask: number): number {
    for (let i = 0; i < 8; i++) {
      if (mask & 1 << ((this.#state.lowest + 1 + i) & 7)) return i;
    }
    return 8;
  }

  #input(priority: number): number | undefined {
    return priority === 8 ? undefined : (this.#state.lowest + 1 + priority) & 7;
  }

  /** What a non-specific EOI ends; in special mask mode masked inputs are left out. */
  #inService(): number | undefined {
    const { isr, imr, specialMask } = this.#state;
    return this.#input(this.#priority(specialMask ? isr & ~imr : isr));
  }

  /** The request that goes to the CPU: it must come before all in service. */
  #next(): number | undefined {
    const { irr, imr, isr, specialMask, fullyNested } = this.#state;
    const request = this.#priority(irr & ~imr);
    if (request === 8) return undefined;
    let serving = specialMask ? isr & ~imr : isr;
    // Special fully nested mode lets a higher one of the second chip through while one is in service.
    if (fullyNested) serving &= ~this.#cascaded;
    return request < this.#priority(serving) ? this.#input(request) : undefined;
  }
}

function powerOn(): PicState {
  return {
    irr: 0,
    imr: 0,
    isr: 0,
    lines: 0,
    level: 0,
    base: 0,
    expects: 0,
    needsIcw4: false,
    single: false,
    autoEoi: false,
    fullyNested: false,
    rotateOnAutoEoi: false,
    specialMask: false,
    readIsr: false,
    poll: false,
    lowest: 7,
  };
}
