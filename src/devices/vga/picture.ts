/** What is on the screen, for people: the cursor and the characters. */
import { frame, planeOffset, rowPitch, startAddress } from "./crtc.ts";
import type { VgaState } from "./vga_state.ts";
import type { VideoMemory } from "./video_memory.ts";

/** The cursor of the text modes (CR0A, CR0B, CR0E, CR0F). */
export class TextCursor {
  readonly #address: number;
  readonly #from: number;
  readonly #to: number;

  constructor(crtc: readonly number[]) {
    this.#address = crtc[0x0e] << 8 | crtc[0x0f];
    this.#from = crtc[0x0a] & 0x20 ? 32 : crtc[0x0a] & 0x1f;
    this.#to = crtc[0x0b] & 0x1f;
  }

  /** Whether it covers a line of the character that the address counter reads at `counter`. */
  covers(counter: number, rowLine: number): boolean {
    return (counter & 0xffff) === this.#address && rowLine >= this.#from && rowLine <= this.#to;
  }
}

/** Code page 437, 0x00..0x1f and 0x7f..0xff: the characters the screen shows for these codes. */
const LOW = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
const HIGH =
  "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀" +
  "αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

/** The character for a code of code page 437. */
export function characterOf(code: number): string {
  return code < 0x20 ? LOW[code] : code < 0x7f ? String.fromCharCode(code) : HIGH[code - 0x7f];
}

/** The rows of a text mode, blanks at their ends left out. */
export function textRows(state: VgaState, memory: VideoMemory): string[] {
  const { columns, lines, rowLines, doubled } = frame(state);
  const rows = Math.floor(lines / (rowLines * (doubled ? 2 : 1)));
  const start = startAddress(state);
  const pitch = rowPitch(state);
  return Array.from({ length: rows }, (_, row) => {
    let text = "";
    for (let column = 0; column < columns; column++) {
      text += characterOf(memory.get(planeOffset(state, start + row * pitch + column, 0) * 4));
    }
    return text.trimEnd();
  });
}
