/** PNG files of pictures. */
import type { Picture } from "../vm/picture.ts";

/** A picture as a PNG file: 8 bits for red, green and blue. The library is loaded when it is first needed. */
export async function encodePng({ width, height, rgb }: Picture): Promise<Uint8Array<ArrayBuffer>> {
  const { encode } = await import("npm:fast-png@8.0.0");
  return new Uint8Array(encode({ width, height, data: rgb, channels: 3, depth: 8 }));
}
