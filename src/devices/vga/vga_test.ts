import assert from "node:assert/strict";
import { anySequence, carry, refusesForeign } from "../device_contract.ts";
import { DISPI } from "./dispi.ts";
import { MockScreen, MODE_12H, MODE_13H, MODE_4, MODE_X } from "./mock_screen.ts";
import { characterOf } from "./picture.ts";

/** What the palette of `MockScreen.mode` shows for a colour. */
const grey = (colour: number) => {
  const value = colour >> 2;
  return new Array<number>(3).fill(value << 2 | value >> 4);
};

Deno.test("vga: mode 3 after firmware shows 80 by 25 characters, blank at first", () => {
  const screen = new MockScreen({ configured: true });
  assert.deepEqual([screen.vga.rows().length, screen.vga.rows().join("")], [25, ""]);
  for (const [i, c] of [..."Hi, there"].entries()) screen.poke(0xb8000 + 2 * i, 0x0700 | c.charCodeAt(0), 2);
  screen.poke(0xb8000 + 160 * 24, 0x07db, 2);
  assert.equal(screen.vga.rows()[0], "Hi, there");
  assert.equal(screen.vga.rows()[24], "█");
  assert.equal(screen.peek(0xb8001), 7);
  assert.equal(screen.peek(0xa0000), 0xff, "only the window of the mode is decoded");
  const { width, height } = screen.vga.picture();
  assert.deepEqual([width, height], [720, 400]);
});

Deno.test("vga: the start address scrolls the text", () => {
  const screen = new MockScreen({ configured: true });
  screen.poke(0xb8000 + 160, 0x0741, 2);
  screen.set(0x3d4, 0x0d, 80);
  assert.equal(screen.vga.rows()[0], "A");
});

Deno.test("vga: characters are drawn with the font of plane 2, attributes, ninth dot and cursor", () => {
  const font = new Uint8Array(256 * 16);
  font.fill(0x81, 65 * 16, 66 * 16);
  font.fill(0xff, 0xdb * 16, 0xdc * 16);
  font.fill(0xff, 0x80 * 16, 0x81 * 16);
  const screen = new MockScreen({ configured: true, font });
  screen.set(0x3d4, 0x0e, 0x07);
  screen.poke(0xb8000, 0x1e41, 2);
  screen.poke(0xb8002, 0x07db, 2);
  screen.poke(0xb8004, 0x0780, 2);
  const blue = [0, 0, 0xaa], yellow = [0xff, 0xff, 0x55], white = [0xaa, 0xaa, 0xaa];
  assert.deepEqual([0, 1, 6, 7, 8].map((x) => screen.dot(x, 3)), [yellow, blue, blue, yellow, blue]);
  assert.deepEqual([screen.dot(17, 0), screen.dot(26, 0)], [white, [0, 0, 0]], "line drawing goes on");
  screen.set(0x3d4, 0x0e, 0x00);
  screen.set(0x3d4, 0x0f, 0x05);
  assert.deepEqual([screen.dot(45, 12), screen.dot(45, 13), screen.dot(53, 14)], [[0, 0, 0], white, white]);
  screen.set(0x3d4, 0x0a, 0x20);
  assert.deepEqual(screen.dot(45, 13), [0, 0, 0], "the cursor can be switched off");
});

Deno.test("vga: a font is loaded into plane 2 as a BIOS does it", () => {
  const screen = new MockScreen({ configured: true });
  screen.set(0x3c4, 2, 4);
  screen.set(0x3c4, 4, 7);
  screen.set(0x3ce, 4, 2);
  screen.set(0x3ce, 5, 0);
  screen.set(0x3ce, 6, 4);
  screen.poke(0xa0000 + 32 * 66, 0xf0);
  assert.equal(screen.peek(0xa0000 + 32 * 66), 0xf0);
  screen.set(0x3c4, 2, 3);
  screen.set(0x3c4, 4, 2);
  screen.set(0x3ce, 4, 0);
  screen.set(0x3ce, 5, 0x10);
  screen.set(0x3ce, 6, 0x0e);
  screen.poke(0xb8000, 0x0f42, 2);
  assert.deepEqual([screen.dot(3, 0), screen.dot(4, 0)], [[0xff, 0xff, 0xff], [0, 0, 0]]);
});

Deno.test("vga: mode 13h is a byte a dot, and the picture has 320 by 200 of them", () => {
  const screen = new MockScreen();
  screen.mode(MODE_13H);
  for (const [x, y, colour] of [[0, 0, 200], [319, 199, 100], [5, 7, 44]]) {
    screen.poke(0xa0000 + 320 * y + x, colour);
    assert.equal(screen.peek(0xa0000 + 320 * y + x), colour);
    assert.deepEqual(screen.dot(x, y), grey(colour));
  }
  const { width, height } = screen.vga.picture();
  assert.deepEqual([width, height, screen.vga.rows()], [320, 200, []]);
  screen.guest.out(0x3c6, 0x0f);
  assert.deepEqual(screen.dot(5, 7), grey(44 & 0x0f));
});

Deno.test("vga: unchained, every plane has each fourth dot, and the map mask fills four at once", () => {
  const screen = new MockScreen();
  screen.mode(MODE_X);
  screen.poke(0xa0000 + 80, 100);
  assert.deepEqual([0, 1, 2, 3].map((x) => screen.dot(x, 1)), new Array(4).fill(grey(100)));
  screen.set(0x3c4, 2, 1 << 2);
  screen.poke(0xa0000 + 80, 40);
  assert.deepEqual([1, 2, 3].map((x) => screen.dot(x, 1)), [grey(100), grey(40), grey(100)]);
  screen.set(0x3ce, 4, 2);
  assert.equal(screen.peek(0xa0000 + 80), 40);
  screen.set(0x3d4, 0x0d, 80);
  assert.deepEqual(screen.dot(2, 0), grey(40), "pages are flipped by the start address");
});

Deno.test("vga: write modes 0 to 3, set/reset, rotation, function, bit mask and latches", () => {
  const screen = new MockScreen();
  screen.mode(MODE_12H);
  const planes = (at: number) =>
    [0, 1, 2, 3].map((plane) => {
      screen.set(0x3ce, 4, plane);
      return screen.peek(0xa0000 + at);
    });
  screen.poke(0xa0000, 0xa5);
  assert.deepEqual(planes(0), [0xa5, 0xa5, 0xa5, 0xa5]);
  screen.set(0x3ce, 0, 0b0101);
  screen.set(0x3ce, 1, 0b0111);
  screen.poke(0xa0001, 0x3c);
  assert.deepEqual(planes(1), [0xff, 0x00, 0xff, 0x3c], "set/reset");
  screen.set(0x3ce, 1, 0);
  screen.set(0x3ce, 3, 0x04);
  screen.poke(0xa0002, 0x81);
  assert.deepEqual(planes(2), [0x18, 0x18, 0x18, 0x18], "rotated right by 4");
  for (const [select, want] of [[1, 0xf0 & 0xcc], [2, 0xf0 | 0xcc], [3, 0xf0 ^ 0xcc]]) {
    screen.set(0x3ce, 3, 0);
    screen.poke(0xa0003, 0xcc);
    screen.peek(0xa0003);
    screen.set(0x3ce, 3, select << 3);
    screen.poke(0xa0003, 0xf0);
    assert.equal(planes(3)[0], want);
  }
  screen.set(0x3ce, 3, 0);
  screen.poke(0xa0004, 0x00);
  screen.peek(0xa0004);
  screen.set(0x3ce, 8, 0x0f);
  screen.poke(0xa0004, 0xff);
  assert.deepEqual(planes(4), [0x0f, 0x0f, 0x0f, 0x0f], "the bit mask keeps the latches");
  screen.set(0x3ce, 8, 0xff);
  screen.set(0x3ce, 5, 1);
  screen.peek(0xa0001);
  screen.poke(0xa0005, 0x99);
  assert.deepEqual(planes(5), [0xff, 0x00, 0xff, 0x3c], "mode 1 copies latches");
  screen.set(0x3ce, 5, 2);
  screen.poke(0xa0006, 0b1010);
  assert.deepEqual(planes(6), [0x00, 0xff, 0x00, 0xff], "mode 2 spreads four bits");
  screen.set(0x3ce, 5, 3);
  screen.peek(0xa0000);
  screen.poke(0xa0007, 0x0f);
  assert.deepEqual(planes(7), [0xaf, 0xa0, 0xaf, 0xa0], "mode 3: the data are a mask for set/reset");
});

Deno.test("vga: read mode 1 compares colours, but for planes nobody cares about", () => {
  const screen = new MockScreen();
  screen.mode(MODE_12H);
  screen.set(0x3ce, 0, 0b0110);
  screen.set(0x3ce, 1, 0x0f);
  screen.set(0x3ce, 8, 0x3c);
  screen.poke(0xa0000, 0);
  screen.set(0x3ce, 5, 8);
  screen.set(0x3ce, 2, 0b0110);
  assert.equal(screen.peek(0xa0000), 0x3c);
  screen.set(0x3ce, 2, 0b0111);
  assert.equal(screen.peek(0xa0000), 0x00);
  screen.set(0x3ce, 7, 0b1110);
  assert.equal(screen.peek(0xa0000), 0x3c);
});

Deno.test("vga: mode 12h has 640 by 480 dots, mode 4 two bits a dot in two halves of lines", () => {
  const screen = new MockScreen();
  screen.mode(MODE_12H);
  screen.set(0x3c4, 2, 0b0101);
  screen.poke(0xa0000 + 80 * 479 + 79, 0x01);
  assert.deepEqual([screen.vga.picture().width, screen.vga.picture().height], [640, 480]);
  assert.deepEqual(screen.dot(639, 479), grey(5));
  const cga = new MockScreen();
  cga.mode(MODE_4);
  cga.poke(0xb8000, 0b00_01_10_11);
  cga.poke(0xb8001, 0b11_00_00_00);
  cga.poke(0xba000, 0b10_00_00_00);
  assert.deepEqual([cga.vga.picture().width, cga.vga.picture().height], [320, 200]);
  assert.deepEqual([0, 1, 2, 3, 4].map((x) => cga.dot(x, 0)), [0, 1, 2, 3, 3].map(grey));
  assert.deepEqual(cga.dot(0, 1), grey(2));
});

/** Mode X from byte 8000 on, where a dot of 100 is, and behind line `line` from byte 0 on, where one of 200 is. */
function splitAt(line: number): MockScreen {
  const screen = new MockScreen();
  screen.mode(MODE_X);
  screen.poke(0xa0000, 200);
  screen.poke(0xa0000 + 8000, 100);
  screen.set(0x3d4, 0x0c, 8000 >> 8);
  screen.set(0x3d4, 0x0d, 8000 & 0xff);
  screen.set(0x3d4, 0x18, line);
  screen.set(0x3d4, 0x07, 0x0f);
  screen.set(0x3d4, 0x09, 0x01);
  return screen;
}

Deno.test("vga: line compare splits the screen, panning moves it", () => {
  const screen = splitAt(199);
  assert.deepEqual([screen.dot(0, 0), screen.dot(0, 99), screen.dot(0, 100)], [
    grey(100),
    grey(0),
    grey(200),
  ]);
  screen.guest.in(0x3da);
  screen.guest.out(0x3c0, 0x33);
  screen.guest.out(0x3c0, 0x02);
  assert.deepEqual([2, 3].map((x) => screen.dot(x, 0)), [grey(100), grey(0)]);
});

Deno.test("vga: a split in the middle of a doubled line is shown line by line", () => {
  const screen = splitAt(200);
  const { width, height } = screen.vga.picture();
  assert.deepEqual([width, height], [320, 400]);
  assert.deepEqual(
    [0, 1, 2, 200, 201, 202, 203].map((y) => screen.dot(0, y)),
    [100, 100, 0, 0, 200, 200, 0].map(grey),
  );
  screen.set(0x3d4, 0x18, 0xff);
  screen.set(0x3d4, 0x07, 0x1f);
  screen.set(0x3d4, 0x09, 0x41);
  assert.equal(screen.vga.picture().height, 200);
  screen.set(0x3d4, 0x08, 1);
  assert.deepEqual([0, 1].map((y) => screen.dot(0, y)), [100, 0].map(grey), "the first row is half a row");
});

Deno.test("vga: characters made eight dots wide begin where they are, with the panning that a BIOS left", () => {
  const font = new Uint8Array(256 * 16).fill(0xff, 0xdb * 16, 0xdc * 16);
  const screen = new MockScreen({ configured: true, font });
  screen.poke(0xb8000, 0xdb);
  screen.poke(0xb8001, 0x07);
  screen.poke(0xb8002, 0x20);
  screen.set(0x3c4, 1, 0x01);
  assert.deepEqual([screen.vga.picture().width, screen.vga.picture().height], [640, 400]);
  const lit = Array.from({ length: 24 }, (_, x) => screen.dot(x, 0)[0] > 0 ? "#" : ".").join("");
  assert.equal(lit, "########................");
});

Deno.test("vga: retrace follows the clock at 70 frames a second, and turns the attribute toggle back", () => {
  const screen = new MockScreen({ configured: true });
  let retraces = 0, last = 0, blank = 0;
  const STEP = 10_000;
  for (let ns = 0; ns < 1e9; ns += STEP) {
    const status = screen.guest.in(0x3da);
    if ((status & 8) > last) retraces++;
    last = status & 8;
    blank += status & 1;
    screen.guest.advance(STEP);
  }
  assert.ok(Math.abs(retraces - 70) <= 1, `${retraces} retraces`);
  assert.ok(blank > 20_000 && blank < 40_000, `${blank} of 100,000 polls saw it blank`);
  screen.guest.out(0x3c0, 0x31);
  screen.guest.in(0x3da);
  screen.guest.out(0x3c0, 0x31);
  screen.guest.out(0x3c0, 0x2a);
  assert.equal(screen.guest.in(0x3c1), 0x2a);
  assert.equal(screen.guest.in(0x3ba), 0xff, "in colour modes the other addresses are empty");
});

Deno.test("vga: who polls slower than the retrace lasts misses none, and who looks seldom is told what is", () => {
  const { guest } = new MockScreen({ configured: true });
  const rises = (step: number) => {
    let seen = 0, last = 8;
    for (let ns = 0; ns < 1e9; ns += step) {
      const status = guest.in(0x3da) & 8;
      if (status > last) seen++;
      last = status;
      guest.advance(step);
    }
    return seen;
  };
  for (const step of [20_000, 97_000, 333_000, 1_700_000]) {
    const seen = rises(step);
    assert.ok(Math.abs(seen - 70) <= 1, `${seen} retraces seen at a poll each ${step} ns`);
  }
  // The retrace lasts two of 449 lines.
  assert.ok(rises(5_000_000) < 10, "a program that draws between its looks");
});

Deno.test("vga: registers have the bits of the chip, and CR00 to CR07 can be protected", () => {
  const { guest, ...screen } = new MockScreen({ configured: true });
  void screen;
  guest.out(0x3d4, 0x0011, 2);
  guest.out(0x3d5, 0x8e);
  guest.out(0x3d4, 0x1201, 2);
  guest.out(0x3d4, 0x01);
  assert.equal(guest.in(0x3d5), 0x4f);
  guest.out(0x3d4, 0x0007, 2);
  assert.equal(guest.in(0x3d5), 0x1f & ~0x10, "line compare's bit can be written");
  guest.out(0x3ce, 0xff05, 2);
  assert.equal(guest.in(0x3cf), 0x7b);
  guest.out(0x3c4, 0x77);
  guest.out(0x3c5, 0x77);
  assert.deepEqual([guest.in(0x3c4), guest.in(0x3c5)], [7, 0]);
  guest.out(0x3ce, 0xf5);
  assert.deepEqual([guest.in(0x3ce), guest.in(0x3cf)], [5, 0x7b], "an index has as many bits as it needs");
});

Deno.test("vga: the attribute palette can be written while it drives the screen, and 0x3c0 gives the index", () => {
  const { guest } = new MockScreen({ configured: true });
  guest.in(0x3da);
  guest.out(0x3c0, 0x23);
  assert.equal(guest.in(0x3c0), 0, "data are read at 0x3c1 alone");
  guest.out(0x3c0, 0x2a);
  assert.deepEqual([guest.in(0x3c0), guest.in(0x3c1)], [0x23, 0x2a]);
});

Deno.test("vga: the DAC takes a colour when its blue comes, and counts on", () => {
  const { guest } = new MockScreen();
  guest.out(0x3c8, 255);
  for (const value of [1, 2, 0xff, 4, 5, 6, 7]) guest.out(0x3c9, value);
  guest.out(0x3c7, 255);
  assert.deepEqual(Array.from({ length: 7 }, () => guest.in(0x3c9)), [1, 2, 0x3f, 4, 5, 6, 0]);
  assert.equal(guest.in(0x3c7), 3);
});

Deno.test("vga: the Bochs interface shows linear memory in every depth", () => {
  const screen = new MockScreen({ configured: true });
  const LFB = 0xfd000000;
  const mode = (width: number, height: number, bpp: number, enable = 0x41) => {
    screen.dispi(DISPI.ENABLE, 0);
    screen.dispi(DISPI.XRES, width);
    screen.dispi(DISPI.YRES, height);
    screen.dispi(DISPI.BPP, bpp);
    screen.dispi(DISPI.ENABLE, enable);
  };
  assert.equal(screen.dispiRead(DISPI.ID), 0xb0c5);
  assert.equal(screen.dispiRead(DISPI.MEMORY_64K), 16);
  mode(640, 400, 32);
  screen.poke(LFB + (640 * 399 + 639) * 4, 0x112233, 4);
  assert.deepEqual(screen.dot(639, 399), [0x11, 0x22, 0x33]);
  assert.equal(screen.dispiRead(DISPI.VIRT_HEIGHT), 409);
  screen.dispi(DISPI.Y_OFFSET, 9);
  assert.deepEqual(screen.dot(639, 390), [0x11, 0x22, 0x33]);
  screen.dispi(DISPI.Y_OFFSET, 10);
  assert.equal(screen.dispiRead(DISPI.Y_OFFSET), 9, "a picture stays inside of the memory");
  mode(320, 200, 16);
  screen.poke(LFB, 0xf81f, 2);
  assert.deepEqual([screen.dot(0, 0), screen.dot(1, 0)], [[0xff, 0, 0xff], [0, 0, 0]]);
  mode(320, 200, 15);
  screen.poke(LFB + 2, 0x03e0, 2);
  assert.deepEqual(screen.dot(1, 0), [0, 0xff, 0]);
  mode(320, 200, 24);
  screen.poke(LFB + 3, 0x010203, 4);
  assert.deepEqual(screen.dot(1, 0), [1, 2, 3]);
  mode(640, 480, 8);
  screen.dispi(DISPI.BANK, 1);
  screen.set(0x3ce, 6, 5);
  screen.poke(0xa0000 + 640 * 2, 0x0f);
  assert.equal(screen.peek(LFB + 0x10000 + 640 * 2), 0x0f);
  mode(2560, 1600, 32);
  assert.equal(screen.dispiRead(DISPI.ENABLE) & 1, 0, "16 MB do not fit 1 MiB");
  screen.set(0x3ce, 6, 0x0e);
  assert.equal(screen.vga.rows().length, 25, "the VGA's own mode is shown");
  screen.dispi(DISPI.ENABLE, 2);
  assert.deepEqual([DISPI.XRES, DISPI.YRES, DISPI.BPP].map((i) => screen.dispiRead(i)), [2560, 1600, 32]);
  assert.equal(screen.dispiRead(11), 0, "there is no such register");
});

Deno.test("vga: PCI memory is where the guest puts it, with the registers behind the third base address", () => {
  const { guest, vga } = new MockScreen();
  assert.equal(vga.configRead(0, 4), 0x11111234);
  vga.configWrite(0x10, 0xffff_ffff, 4);
  assert.equal(vga.configRead(0x10, 4), 0xfff0_0008);
  vga.configWrite(0x10, 0xe000_0000, 4);
  vga.configWrite(0x18, 0xe100_0000, 4);
  guest.store(0xe000_0000n, 7, 1);
  assert.equal(guest.load(0xe000_0000n, 1), 0xff, "memory is not enabled");
  vga.configWrite(0x04, 2, 2);
  guest.store(0xe000_0000n, 7, 1);
  assert.equal(guest.load(0xe000_0000n, 1), 7);
  assert.equal(guest.load(0xe100_0500n, 2), 0xb0c5);
  guest.store(0xe100_0502n, 800, 2);
  assert.equal(guest.load(0xe100_0502n, 2), 800);
  guest.store(0xe100_0402n, 0x67, 1);
  assert.equal(guest.in(0x3cc), 0x67);
});

Deno.test("vga: its state is carried, and foreign or damaged ones are refused", () => {
  const screen = new MockScreen({ configured: true });
  screen.poke(0xb8000, 0x0741, 2);
  screen.poke(0xfd000000 + 0xfffff, 9);
  const other = new MockScreen();
  carry(screen.vga, other.vga);
  assert.equal(other.vga.rows()[0], "A");
  assert.equal(other.peek(0xfd000000 + 0xfffff), 9);
  refusesForeign(screen.vga);
  const small = new MockScreen({ memory: 1 << 18 });
  assert.throws(() => small.vga.restore(screen.vga.save()), { name: "InputError" });
  screen.vga.reset();
  assert.deepEqual(screen.vga.rows().join(""), "");
});

Deno.test("vga: any sequence of accesses leaves it whole, and a picture can be had", () => {
  const make = () => {
    const { guest, vga } = new MockScreen({ configured: true, memory: 1 << 18 });
    guest.lends = true;
    return { guest, device: vga };
  };
  let pictures = 0;
  anySequence(make, {
    seed: 0x3c0,
    runs: 150,
    holds: ({ device }) => {
      if (pictures++ % 16 !== 0) return;
      const { width, height, rgb } = (device as MockScreen["vga"]).picture();
      assert.equal(rgb.length, width * height * 3);
      assert.ok(width <= 2560 && height <= 2048);
      for (const row of (device as MockScreen["vga"]).rows()) assert.ok(row.length <= 256);
    },
  });
});

Deno.test("vga: code page 437 has a character for every code", () => {
  assert.equal(Array.from({ length: 256 }, (_, code) => characterOf(code)).join("").length, 256);
  assert.deepEqual(
    [1, 65, 0x7f, 0xb0, 0xdb, 0xff].map(characterOf).join(""),
    "☺A⌂░█\u00a0".replace("\u00a0", " "),
  );
});
