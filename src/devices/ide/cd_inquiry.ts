/** How a CD-ROM drive names itself: SPC-2 (T10/1236-D), 7.3 (INQUIRY) and 8.4 (vital product data). */
import type { Identity } from "./identify.ts";

/** Peripheral device type: a CD-ROM drive. */
const CD_ROM_DEVICE = 0x05;
const PAGE = { SUPPORTED: 0x00, SERIAL_NUMBER: 0x80, IDENTIFICATION: 0x83 } as const;
/** An identifier in ASCII, named by its maker, or with the maker's name in front (8.4.4). */
const ASCII = 0x02;
const BY_VENDOR = 0x00;
const WITH_VENDOR = 0x01;

/** Characters in `count` bytes, filled up with spaces. */
function text(value: string, count: number): number[] {
  return Array.from(value.padEnd(count).slice(0, count), (c) => c.charCodeAt(0) & 0x7f);
}

/** The standard data: a removable CD-ROM drive. */
export function inquiry({ model, firmware }: Identity): number[] {
  const [vendor, ...product] = model.split(" ");
  // Response data format 1 is that of ATAPI.
  const head = [CD_ROM_DEVICE, 0x80, 0x00, 0x21, 31, 0, 0, 0];
  return [...head, ...text(vendor, 8), ...text(product.join(" "), 16), ...text(firmware, 4)];
}

/** A page of vital product data; undefined if there is no such page. The identifiers are those of QEMU's drive. */
export function vitalProductData({ serial, model }: Identity, page: number): number[] | undefined {
  const identifier = (kind: number, name: readonly number[]) => [ASCII, kind, 0, name.length, ...name];
  const data = () => {
    switch (page) {
      case PAGE.SUPPORTED:
        return Object.values(PAGE);
      case PAGE.SERIAL_NUMBER:
        return text(serial, 20);
      case PAGE.IDENTIFICATION:
        return [
          ...identifier(BY_VENDOR, text(serial, 20)),
          ...identifier(WITH_VENDOR, [...text("ATA", 8), ...text(model, 40), ...text(serial, 20)]),
        ];
    }
    return undefined;
  };
  const bytes = data();
  return bytes && [CD_ROM_DEVICE, page, 0, bytes.length, ...bytes];
}
