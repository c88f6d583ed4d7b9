/** PNG files of pictures: 8 bits for red, green and blue, no filter, one IDAT (PNG 1.2, chapters 3 and 4). */
import { crc32, deflateSync } from "node:zlib";
import type { Picture } from "../devices/vga/picture.ts";

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const TRUE_COLOUR = 2;
/** Screens have flat colours: more effort finds little more. */
const LEVEL = 6;

/** A picture as a PNG file. */
export function encodePng({ width, height, rgb }: Picture): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, TRUE_COLOUR, 0, 0, 0], 8);
  const pitch = width * 3;
  const lines = new Uint8Array(height * (pitch + 1)); // each begins with its filter's number, 0
  for (let y = 0; y < height; y++) lines.set(rgb.subarray(y * pitch, (y + 1) * pitch), y * (pitch + 1) + 1);
  const parts = [
    SIGNATURE,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(lines, { level: LEVEL })),
    chunk("IEND", new Uint8Array(0)),
  ];
  const file = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** Length, type, data, and a CRC over type and data. */
function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(data.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(data, 8);
  view.setUint32(data.length + 8, crc32(bytes.subarray(4, data.length + 8)));
  return bytes;
}
