/**
 * Registers and state of the PC16550D: what its data sheet calls things and where they are.
 *
 * Data sheet: PC16550D Universal Asynchronous Receiver/Transmitter with FIFOs, June 1995, section 8 (Registers),
 * https://media.digikey.com/pdf/Data%20Sheets/Texas%20Instruments%20PDFs/PC16550D.pdf
 */
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
