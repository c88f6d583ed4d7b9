/**
 * Keys and their scan codes, and the US layout's way from characters to keys.
 *
 * Data sheet: IBM PS/2 Hardware Interface Technical Reference, "Keyboard" (scan code set 2, and the 8042's
 * translation of it to set 1); USB HID to PS/2 Scan Code Translation Table, Microsoft, 2000.
 */
import { InputError } from "../vm/errors.ts";
import { SET_3_CODES } from "./scancodes_set3.ts";

/** The sets of codes that a keyboard knows. */
export type ScanCodeSet = 1 | 2 | 3;

/** Set 2 make codes by the key's name; 0xe0 in the high byte stands for the prefix. */
// deno-fmt-ignore: rows as on the keyboard are easier to check than a column
const CODES: Readonly<Record<string, number>> = {
  esc: 0x76, f1: 0x05, f2: 0x06, f3: 0x04, f4: 0x0c, f5: 0x03, f6: 0x0b, f7: 0x83, f8: 0x0a, f9: 0x01, f10: 0x09,
  f11: 0x78, f12: 0x07, scroll_lock: 0x7e,
  grave: 0x0e, "1": 0x16, "2": 0x1e, "3": 0x26, "4": 0x25, "5": 0x2e, "6": 0x36, "7": 0x3d, "8": 0x3e, "9": 0x46,
  "0": 0x45, minus: 0x4e, equal: 0x55, backspace: 0x66,
  tab: 0x0d, q: 0x15, w: 0x1d, e: 0x24, r: 0x2d, t: 0x2c, y: 0x35, u: 0x3c, i: 0x43, o: 0x44, p: 0x4d,
  bracket_left: 0x54, bracket_right: 0x5b, backslash: 0x5d,
  caps_lock: 0x58, a: 0x1c, s: 0x1b, d: 0x23, f: 0x2b, g: 0x34, h: 0x33, j: 0x3b, k: 0x42, l: 0x4b,
  semicolon: 0x4c, apostrophe: 0x52, enter: 0x5a,
  shift: 0x12, less: 0x61, z: 0x1a, x: 0x22, c: 0x21, v: 0x2a, b: 0x32, n: 0x31, m: 0x3a, comma: 0x41, dot: 0x49,
  slash: 0x4a, shift_r: 0x59,
  ctrl: 0x14, meta: 0xe01f, alt: 0x11, space: 0x29, alt_r: 0xe011, meta_r: 0xe027, menu: 0xe02f, ctrl_r: 0xe014,
  insert: 0xe070, home: 0xe06c, page_up: 0xe07d, delete: 0xe071, end: 0xe069, page_down: 0xe07a,
  up: 0xe075, left: 0xe06b, down: 0xe072, right: 0xe074,
  num_lock: 0x77, kp_divide: 0xe04a, kp_multiply: 0x7c, kp_subtract: 0x7b, kp_add: 0x79, kp_enter: 0xe05a,
  kp_decimal: 0x71, kp_0: 0x70, kp_1: 0x69, kp_2: 0x72, kp_3: 0x7a, kp_4: 0x6b, kp_5: 0x73, kp_6: 0x74, kp_7: 0x6c,
  kp_8: 0x75, kp_9: 0x7d,
};

/** Other names people use. */
// deno-fmt-ignore: rows are easier to read than a column
const ALIASES: Readonly<Record<string, string>> = {
  ret: "enter", return: "enter", del: "delete", ins: "insert", pgup: "page_up", pgdn: "page_down", spc: "space",
  bs: "backspace", escape: "esc", control: "ctrl", win: "meta", period: "dot", print: "print_screen", sysrq: "print_screen",
};

/** Keys with sequences of their own, in set 2. Pause has no break code. */
const SEQUENCES: Readonly<Record<string, { make: readonly number[]; break: readonly number[] }>> = {
  print_screen: { make: [0xe0, 0x12, 0xe0, 0x7c], break: [0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12] },
  pause: { make: [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77], break: [] },
};

const BREAK = 0xf0;

/** The 8042's translation of set 2 to set 1; 0x80..0xff stay but for two. */
// deno-fmt-ignore: rows of sixteen, as the code's high digit
const TO_SET_1: readonly number[] = [
  0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
  0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
  0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
  0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
  0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
  0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
  0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
  0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
];

/** Set 1 code of a set 2 code byte, as the 8042 translates it; a break is this with bit 7 set. */
export function translateToSet1(code: number): number {
  if (code === 0x83) return 0x41;
  if (code === 0x84) return 0x54;
  return code < 0x80 ? TO_SET_1[code] : code;
}

/** The key that `name` means, in its first spelling. @throws {InputError} If there is none. */
export function keyName(name: string): string {
  const lower = name.toLowerCase();
  const key = ALIASES[lower] ?? lower;
  if (Object.hasOwn(CODES, key) || Object.hasOwn(SEQUENCES, key)) return key;
  throw new InputError(`There is no key "${name}"`, {
    remedy: "use names such as a, 7, f1, enter, ctrl, alt, delete, page_up, kp_5",
  });
}

/** Every key's name. */
export const KEY_NAMES: readonly string[] = [...Object.keys(CODES), ...Object.keys(SEQUENCES)];

/** The bytes a keyboard sends when the key (a name from `keyName`) goes down or up. */
export function scanCode(key: string, down: boolean, set: ScanCodeSet): number[] {
  if (set === 3) return [...(down ? [] : [BREAK]), SET_3_CODES[key]];
  const sequence = SEQUENCES[key];
  const code = CODES[key];
  let bytes: readonly number[];
  if (sequence !== undefined) bytes = down ? sequence.make : sequence.break;
  else bytes = [...(code > 0xff ? [code >> 8] : []), ...(down ? [] : [BREAK]), code & 0xff];
  return set === 2 ? [...bytes] : toSet1(bytes);
}

function toSet1(bytes: readonly number[]): number[] {
  const out: number[] = [];
  let up = 0;
  for (const byte of bytes) {
    if (byte === BREAK) up = 0x80;
    else {
      out.push(translateToSet1(byte) | up);
      up = 0;
    }
  }
  return out;
}

/** US layout: characters of the keys without and with Shift. */
const PLAIN = "`1234567890-=[]\\;',./";
const SHIFTED = '~!@#$%^&*()_+{}|:"<>?';
const PLAIN_KEYS = [
  ..."grave 1 2 3 4 5 6 7 8 9 0 minus equal bracket_left bracket_right backslash".split(" "),
  ..."semicolon apostrophe comma dot slash".split(" "),
];
const CONTROLS: Readonly<Record<string, string>> = {
  "\n": "enter",
  "\r": "enter",
  "\t": "tab",
  "\b": "backspace",
  "\x7f": "backspace",
  "\x1b": "esc",
  " ": "space",
};

/** The keys that make `character` on a US keyboard, pressed in this order. @throws {InputError} If there are none. */
export function keysFor(character: string): string[] {
  if (Object.hasOwn(CONTROLS, character)) return [CONTROLS[character]];
  if (/^[a-z]$/.test(character)) return [character];
  if (/^[A-Z]$/.test(character)) return ["shift", character.toLowerCase()];
  const plain = PLAIN.indexOf(character);
  if (plain >= 0) return [PLAIN_KEYS[plain]];
  const shifted = SHIFTED.indexOf(character);
  if (shifted >= 0) return ["shift", PLAIN_KEYS[shifted]];
  const code = character.charCodeAt(0);
  if (code >= 0x01 && code <= 0x1a) return ["ctrl", String.fromCharCode(code + 0x60)];
  throw new InputError(`The US keyboard has no key for ${JSON.stringify(character)}`, {
    remedy: "type ASCII, or press the keys the guest's layout has for it",
  });
}
