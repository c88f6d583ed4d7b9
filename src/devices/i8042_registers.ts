/**
 * Registers and commands of the 8042 in a PS/2: what its documentation calls things and where they are.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller".
 */

import type { RegisterBits } from "../vm/register_bits.ts";

export const STATUS_OUTPUT_FULL_BIT = 0x01;
export const STATUS_SYSTEM_BIT = 0x04;
export const STATUS_COMMAND_BIT = 0x08;
/** The keyboard is not locked. */
export const STATUS_UNLOCKED_BIT = 0x10;
export const STATUS_AUX_BIT = 0x20;
export const MODE_KEYBOARD_INTERRUPT_BIT = 0x01;
export const MODE_AUX_INTERRUPT_BIT = 0x02;
export const MODE_SYSTEM_BIT = 0x04;
export const MODE_KEYBOARD_OFF_BIT = 0x10;
export const MODE_AUX_OFF_BIT = 0x20;
export const MODE_TRANSLATE_BIT = 0x40;
export const MODE_MASK = 0x77;
/** Output port; bit 0 low resets the CPU. */
export const PORT_RESET_BIT = 0x01;
export const PORT_A20_BIT = 0x02;
export const PORT_KEYBOARD_FULL_BIT = 0x10;
export const PORT_AUX_FULL_BIT = 0x20;
export const PORT_IDLE = 0xcf;

/** Names of bits. */
export const BITS: Readonly<Record<string, RegisterBits>> = {
  status: {
    OBF: STATUS_OUTPUT_FULL_BIT,
    SYSTEM: STATUS_SYSTEM_BIT,
    COMMAND: STATUS_COMMAND_BIT,
    UNLOCKED: STATUS_UNLOCKED_BIT,
    AUX: STATUS_AUX_BIT,
  },
  mode: {
    "keyboard IRQ": MODE_KEYBOARD_INTERRUPT_BIT,
    "aux IRQ": MODE_AUX_INTERRUPT_BIT,
    SYSTEM: MODE_SYSTEM_BIT,
    "keyboard off": MODE_KEYBOARD_OFF_BIT,
    "aux off": MODE_AUX_OFF_BIT,
    TRANSLATE: MODE_TRANSLATE_BIT,
  },
  outputPort: {
    RUN: PORT_RESET_BIT,
    A20: PORT_A20_BIT,
    IRQ1: PORT_KEYBOARD_FULL_BIT,
    IRQ12: PORT_AUX_FULL_BIT,
  },
  leds: { "scroll lock": 1, "num lock": 2, "caps lock": 4 },
};

/** Commands written to port 0x64. */
export const READ_RAM = 0x20;
export const WRITE_RAM = 0x60;
export const RAM_MASK = 0x1f;
export const TEST_PASSWORD = 0xa4;
export const AUX_OFF = 0xa7;
export const AUX_ON = 0xa8;
export const AUX_TEST = 0xa9;
export const SELF_TEST = 0xaa;
export const KEYBOARD_TEST = 0xab;
export const KEYBOARD_OFF = 0xad;
export const KEYBOARD_ON = 0xae;
export const READ_INPUT_PORT = 0xc0;
export const READ_OUTPUT_PORT = 0xd0;
export const WRITE_OUTPUT_PORT = 0xd1;
export const WRITE_KEYBOARD_BUFFER = 0xd2;
export const WRITE_AUX_BUFFER = 0xd3;
export const WRITE_AUX = 0xd4;
export const A20_OFF = 0xdd;
export const A20_ON = 0xdf;
export const READ_TEST_INPUTS = 0xe0;
export const PULSE = 0xf0;
