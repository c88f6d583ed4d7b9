/** A driver of the VGA for tests: sets modes by their register values, as boot sectors without a BIOS do. */
import { MockGuest } from "../mock_guest.ts";
import { Vga, type VgaOptions } from "./vga.ts";

/** Register values of a mode. */
export interface ModeTable {
  readonly misc: number;
  readonly sequencer: readonly number[];
  readonly crtc: readonly number[];
  readonly graphics: readonly number[];
  readonly attribute: readonly number[];
}

const STRAIGHT = Array.from({ length: 16 }, (_, i) => i);

/** 320 by 200 dots, 256 colours, chained. */
export const MODE_13H: ModeTable = {
  misc: 0x63,
  sequencer: [0x03, 0x01, 0x0f, 0x00, 0x0e],
  crtc: [
    ...[0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0x00, 0x41, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    ...[0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96, 0xb9, 0xa3, 0xff],
  ],
  graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x40, 0x05, 0x0f, 0xff],
  attribute: [...STRAIGHT, 0x41, 0x00, 0x0f, 0x00, 0x00],
};

/** The same dots, unchained: mode X with 200 lines. */
export const MODE_X: ModeTable = {
  ...MODE_13H,
  sequencer: [0x03, 0x01, 0x0f, 0x00, 0x06],
  crtc: MODE_13H.crtc.map((value, i) => i === 0x14 ? 0x00 : i === 0x17 ? 0xe3 : value),
};

/** 640 by 480 dots, 16 colours. */
export const MODE_12H: ModeTable = {
  misc: 0xe3,
  sequencer: [0x03, 0x01, 0x0f, 0x00, 0x06],
  crtc: [
    ...[0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    ...[0xea, 0x8c, 0xdf, 0x28, 0x00, 0xe7, 0x04, 0xe3, 0xff],
  ],
  graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x05, 0x0f, 0xff],
  attribute: [...STRAIGHT, 0x01, 0x00, 0x0f, 0x00, 0x00],
};

/** 320 by 200 dots, 4 colours, as on a CGA. */
export const MODE_4: ModeTable = {
  misc: 0x63,
  sequencer: [0x03, 0x09, 0x03, 0x00, 0x02],
  crtc: [
    ...[0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0x00, 0xc1, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00],
    ...[0x9c, 0x8e, 0x8f, 0x14, 0x00, 0x96, 0xb9, 0xa2, 0xff],
  ],
  graphics: [0x00, 0x00, 0x00, 0x00, 0x00, 0x30, 0x0f, 0x00, 0xff],
  attribute: [...STRAIGHT, 0x01, 0x00, 0x03, 0x00, 0x00],
};

/** A guest with a VGA. */
export class MockScreen {
  readonly guest: MockGuest;
  readonly vga: Vga;

  constructor(options: Omit<VgaOptions, "time"> = {}) {
    this.guest = new MockGuest();
    this.vga = this.guest.add(new Vga({ time: this.guest.clock, memory: 1 << 20, ...options }));
  }

  /** Sets an indexed register. */
  set(port: 0x3c4 | 0x3ce | 0x3d4, index: number, value: number): void {
    this.guest.out(port, index | value << 8, 2);
  }

  /** Sets the registers of a mode, and a palette of greys in the 256 colours. */
  mode(table: ModeTable): void {
    const { guest } = this;
    guest.out(0x3c2, table.misc);
    table.sequencer.forEach((value, i) => this.set(0x3c4, i, value));
    this.set(0x3d4, 0x11, 0);
    table.crtc.forEach((value, i) => this.set(0x3d4, i, value));
    table.graphics.forEach((value, i) => this.set(0x3ce, i, value));
    guest.in(0x3da);
    table.attribute.forEach((value, i) => {
      guest.out(0x3c0, i);
      guest.out(0x3c0, value);
    });
    guest.out(0x3c0, 0x20);
    guest.out(0x3c8, 0);
    for (let i = 0; i < 256; i++) for (let c = 0; c < 3; c++) guest.out(0x3c9, i >> 2);
  }

  /** Gets at one plane of a text mode, from 0xa0000 on, as a BIOS that loads a font. */
  fontAccess(plane: number): void {
    this.set(0x3c4, 2, 1 << plane);
    this.set(0x3c4, 4, 0x06);
    this.set(0x3ce, 4, plane);
    this.set(0x3ce, 5, 0x00);
    this.set(0x3ce, 6, 0x04);
  }

  /** Sets a register of the Bochs display interface. */
  dispi(index: number, value: number): void {
    this.guest.out(0x1ce, index, 2);
    this.guest.out(0x1cf, value, 2);
  }

  /** Reads one. */
  dispiRead(index: number): number {
    this.guest.out(0x1ce, index, 2);
    return this.guest.in(0x1cf, 2);
  }

  poke(at: number, value: number, size: 1 | 2 | 4 = 1): void {
    this.guest.store(BigInt(at), value, size);
  }

  peek(at: number, size: 1 | 2 | 4 = 1): number {
    return this.guest.load(BigInt(at), size);
  }

  /** Red, green and blue of a dot. */
  dot(x: number, y: number): number[] {
    const { width, rgb } = this.vga.picture();
    return [...rgb.subarray((y * width + x) * 3, (y * width + x) * 3 + 3)];
  }
}
