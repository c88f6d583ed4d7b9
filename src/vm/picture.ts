/** A picture of dots, as a screen shows it. */
export interface Picture {
  /** Dots of a line. */
  readonly width: number;
  /** Lines. */
  readonly height: number;
  /** Red, green and blue of each dot, line by line from the top left: `width * height * 3` bytes. */
  readonly rgb: Uint8Array;
}
