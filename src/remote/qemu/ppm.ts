import { HvshError } from "../../vm/errors.ts";
import type { Picture } from "../../vm/picture.ts";

/** More than any screen has. */
const MOST = 16384;

/** Reads a binary portable pixmap (ppm(5)) of 8 bits a colour, as QEMU writes it. @throws {HvshError} If it is none. */
export function readPpm(bytes: Uint8Array): Picture {
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 64));
  const found = /^P6\s+(\d{1,5})\s+(\d{1,5})\s+255\s/.exec(head);
  const [width, height] = [Number(found?.[1]), Number(found?.[2])];
  const rgb = bytes.slice(found?.[0].length ?? 0);
  if (!(width <= MOST && height <= MOST) || rgb.length !== width * height * 3) {
    throw new HvshError("QEMU's picture of the screen makes no sense", { remedy: "take it again" });
  }
  return { width, height, rgb };
}
