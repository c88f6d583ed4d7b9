/**
 * Registers and state of the PC16550D: what its data sheet calls things and where they are.
 *
 * Data sheet: PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs, June 1995, section 8 (Registers),
 * https://media.digikey.com/pdf/Data%20Sheets/Texas%20Instruments%20PDFs/PC16550D.pdf
 */
import type { RegisterBits } from "../vm/register_bits.ts";
import { bits, flag, list, type Shape } from "./state.ts";

/** Register offsets; DLL and DLM take the places of RBR/THR and IER while LCR.DLAB is set. */
export const RBR_THR = 0;
export const IER = 1;
export const IIR_FCR = 2;
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;

export const IER_RECEIVE_BIT = 0x01;
export const IER_TRANSMIT_BIT = 0x02;
export const IER_LINE_BIT = 0x04;
export const IER_MODEM_BIT = 0x08;
export const IER_MASK = 0x0f;
/** IIR bits 3:0 by source, the first in order of priority (8.6, table IV). */
export const IIR_LINE = 0x06;
export const IIR_DATA = 0x04;
export const IIR_TIMEOUT = 0x0c;
export const IIR_THRE = 0x02;
export const IIR_MODEM = 0x00;
export const IIR_NONE = 0x01;
export const IIR_FIFO_MASK = 0xc0;
export const FCR_ENABLE_BIT = 0x01;
export const FCR_CLEAR_RECEIVE_BIT = 0x02;
export const FCR_TRIGGER_MASK = 0xc0;
export const FCR_KEPT_MASK = 0xc9;
export const LCR_LENGTH_MASK = 0x03;
export const LCR_STOP_BIT = 0x04;
export const LCR_PARITY_BIT = 0x08;
export const LCR_BREAK_BIT = 0x40;
export const LCR_DLAB_BIT = 0x80;
export const MCR_DTR_BIT = 0x01;
export const MCR_RTS_BIT = 0x02;
export const MCR_OUT1_BIT = 0x04;
export const MCR_OUT2_BIT = 0x08;
export const MCR_LOOP_BIT = 0x10;
export const MCR_MASK = 0x1f;
export const LSR_DATA_BIT = 0x01;
export const LSR_OVERRUN_BIT = 0x02;
export const LSR_BREAK_BIT = 0x10;
/** PE, FE, BI: errors that belong to a character. */
export const LSR_CHARACTER_MASK = 0x1c;
/** THRE and TEMT. */
export const LSR_EMPTY_MASK = 0x60;
export const LSR_FIFO_ERROR_BIT = 0x80;
export const MSR_CTS_BIT = 0x10;
export const MSR_DSR_BIT = 0x20;
export const MSR_RI_BIT = 0x40;
export const MSR_DCD_BIT = 0x80;
export const MSR_INPUT_MASK = 0xf0;

/** Names of bits, as the data sheet's table II has them. */
export const BITS: Readonly<Record<string, RegisterBits>> = {
  IER: { ERBFI: IER_RECEIVE_BIT, ETBEI: IER_TRANSMIT_BIT, ELSI: IER_LINE_BIT, EDSSI: IER_MODEM_BIT },
  IIR: { FIFO: IIR_FIFO_MASK, ID: 0x0e, NONE: IIR_NONE },
  FCR: { ENABLE: FCR_ENABLE_BIT, DMA: 0x08, TRIGGER: FCR_TRIGGER_MASK },
  LCR: {
    DLAB: LCR_DLAB_BIT,
    BREAK: LCR_BREAK_BIT,
    SP: 0x20,
    EPS: 0x10,
    PEN: LCR_PARITY_BIT,
    STB: LCR_STOP_BIT,
    WLS: LCR_LENGTH_MASK,
  },
  MCR: { DTR: MCR_DTR_BIT, RTS: MCR_RTS_BIT, OUT1: MCR_OUT1_BIT, OUT2: MCR_OUT2_BIT, LOOP: MCR_LOOP_BIT },
  LSR: {
    DR: LSR_DATA_BIT,
    OE: LSR_OVERRUN_BIT,
    PE: 0x04,
    FE: 0x08,
    BI: LSR_BREAK_BIT,
    THRE: 0x20,
    TEMT: 0x40,
    ERROR: LSR_FIFO_ERROR_BIT,
  },
  MSR: {
    DCTS: 0x01,
    DDSR: 0x02,
    TERI: 0x04,
    DDCD: 0x08,
    CTS: MSR_CTS_BIT,
    DSR: MSR_DSR_BIT,
    RI: MSR_RI_BIT,
    DCD: MSR_DCD_BIT,
  },
};

/** Characters a FIFO holds. */
export const FIFO_DEPTH = 16;
/** Receive FIFO levels that FCR bits 7:6 choose. */
export const TRIGGERS = [1, 4, 8, 14] as const;
/** Bytes that wait at the host side until the guest has read what came before. */
export const QUEUE_LIMIT = 0x1_0000;
/** Input clock of a PC's UART in Hz; a bit lasts 16 * divisor cycles. */
export const CLOCK_HZ = 1_843_200n;

/** Everything a PC16550D and its wire remember. */
export interface UartState {
  ier: number;
  fcr: number;
  lcr: number;
  mcr: number;
  scr: number;
  /** DLM:DLL. */
  divisor: number;
  /** OE, PE, FE, BI as the guest will read them. */
  errors: number;
  /** DCTS, DDSR, TERI, DDCD. */
  deltas: number;
  /** CTS, DSR, RI, DCD as the other end drives them, in MSR's places. */
  inputs: number;
  /** The transmitter-empty interrupt, until IIR shows it or THR is written. */
  transmitterEmpty: boolean;
  /** The character-timeout indication (8.6.3). */
  timeout: boolean;
  /** Receive FIFO, or RBR when FIFOs are off: the character, and its PE, FE, BI in bits 8 and up. */
  received: number[];
  /** What RBR was last read as: without FIFOs it stays there. */
  last: number;
  /** What the host gave and the guest has not had room for. */
  queue: number[];
}

/** What a saved state must look like. */
export const SHAPE: Shape<UartState> = {
  ier: bits(4),
  fcr: bits(8),
  lcr: bits(8),
  mcr: bits(5),
  scr: bits(8),
  divisor: bits(16),
  errors: bits(5),
  deltas: bits(4),
  inputs: bits(8),
  transmitterEmpty: flag,
  timeout: flag,
  last: bits(8),
  received: list(bits(13), 0, FIFO_DEPTH),
  queue: list(bits(13), 0, QUEUE_LIMIT),
};

/** The divisor is not set by a reset; 9600 baud is what BIOSes leave. CTS, DSR and DCD: somebody is there. */
export function powerOn(): UartState {
  return {
    ier: 0,
    fcr: 0,
    lcr: 0,
    mcr: 0,
    scr: 0,
    divisor: 12,
    errors: 0,
    deltas: 0,
    inputs: MSR_CTS_BIT | MSR_DSR_BIT | MSR_DCD_BIT,
    transmitterEmpty: false,
    timeout: false,
    received: [],
    last: 0,
    queue: [],
  };
}
