import assert from "node:assert/strict";
import fc from "fast-check";
import { InputError } from "../../vm/errors.ts";
import { linuxImage } from "./linux.ts";

const MIB = 1 << 20;

/** A bzImage with nothing in it. */
function bzImage(change: (view: DataView) => void = () => {}): Uint8Array {
  const view = new DataView(new ArrayBuffer(512 * 5 + 0x4000));
  view.setUint8(0x1f1, 4);
  view.setUint32(0x1f4, 0x4000 / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint8(0x201, 0x66); // jump over the header: it ends at 0x268
  view.setUint32(0x202, 0x53726448, true);
  view.setUint16(0x206, 0x20f, true);
  view.setUint8(0x211, 0x80);
  view.setUint32(0x22c, 0x7fff_ffff, true);
  view.setUint32(0x230, 0x20_0000, true);
  view.setUint8(0x234, 1);
  view.setUint16(0x236, 3, true);
  view.setUint32(0x238, 2047, true);
  view.setBigUint64(0x258, 0x100_0000n, true);
  view.setUint32(0x260, 0x80_0000, true);
  view.setUint8(512 * 5 + 0x200, 0xf4);
  change(view);
  return new Uint8Array(view.buffer);
}

Deno.test("linux: kernel, boot_params, e820, initrd and the state at entry", () => {
  const initrd = new Uint8Array(5000).fill(7);
  const image = linuxImage(bzImage(), { memory: 64 * MIB, initrd, cmdline: "console=ttyS0" });
  const r = image.registers;
  assert.deepEqual([r.rip, r.cs, r.ds, r.ss, r.rflags], [0x100_0200n, 0x10n, 0x18n, 0x18n, 2n]);
  const named = (name: string) => image.writes.find((w) => w.name === name)!;
  assert.equal(named("Linux kernel").at, 0x100_0000n);
  assert.equal(named("Linux kernel").bytes[0x200], 0xf4);
  assert.equal(named("Linux kernel").zeros, 0x80_0000 - 0x4000);
  const params = named("boot parameters");
  assert.equal(params.at, r.rsi);
  const view = new DataView(params.bytes.buffer);
  assert.equal(view.getUint32(0x202, true), 0x53726448);
  assert.deepEqual([view.getUint8(0x210), view.getUint8(0x211)], [0xff, 0x81]);
  const place = named("initrd");
  assert.deepEqual([view.getUint32(0x218, true), view.getUint32(0x21c, true)], [Number(place.at), 5000]);
  assert.equal(place.at, 64n * 0x100000n - 0x22000n);
  assert.equal(view.getUint32(0x228, true), Number(named("command line").at));
  assert.equal(new TextDecoder().decode(named("command line").bytes), "console=ttyS0\0");
  assert.equal(view.getUint8(0x1e8), 6);
  assert.equal(view.getBigUint64(0x2d0 + 60, true), 0x100000n);
  assert.equal(named("GDT").bytes.length, 32);
});

Deno.test("linux: moved where its preferred address is no RAM, or refused", () => {
  const small = linuxImage(bzImage(), { memory: 12 * MIB });
  assert.equal(small.registers.rip, 0x20_0200n);
  const fixed = bzImage((v) => v.setUint8(0x234, 0));
  assert.throws(() => linuxImage(fixed, { memory: 12 * MIB }), /RAM ends at 0xbe0000/);
  assert.throws(() => linuxImage(bzImage(), { memory: 8 * MIB }), InputError);
  assert.throws(
    () => linuxImage(bzImage(), { memory: 32 * MIB, initrd: new Uint8Array(10 * MIB) }),
    /initrd/,
  );
});

Deno.test("linux: what is no 64-bit bzImage is refused", () => {
  const refused = (file: Uint8Array, what: RegExp, cmdline = "") =>
    assert.throws(
      () => linuxImage(file, { memory: 64 * MIB, cmdline }),
      (e: unknown) => e instanceof InputError && what.test(e.message) && e.remedy !== undefined,
    );
  refused(new Uint8Array(100), /no bzImage/);
  refused(bzImage((v) => v.setUint32(0x202, 0, true)), /no bzImage/);
  refused(bzImage((v) => v.setUint16(0x206, 0x20b, true)), /2\.11/);
  refused(bzImage((v) => v.setUint16(0x236, 0, true)), /64-bit entry/);
  refused(bzImage().slice(0, 4000), /truncated/);
  refused(bzImage((v) => v.setUint32(0x1f4, 0xffff_ffff, true)), /truncated/);
  refused(bzImage(), /command line/, "x".repeat(3000));
});

Deno.test("linux: random headers are refused or placed in RAM", () => {
  const patch = fc.array(fc.tuple(fc.integer({ min: 0x1f1, max: 0x270 }), fc.nat(255)), { maxLength: 6 });
  fc.assert(
    fc.property(patch, ([...patches]) => {
      const file = bzImage((v) => patches.forEach(([at, value]) => v.setUint8(at, value)));
      try {
        linuxImage(file, { memory: 64 * MIB, initrd: new Uint8Array(10) });
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
      }
    }),
    { seed: 8, numRuns: 300 },
  );
});
