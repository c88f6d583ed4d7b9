/** Whether a guest has a VGA. */
import { WINDOW, WINDOW_BYTES } from "../devices/vga/data_path.ts";
import type { BootImage } from "../x86/boot/image.ts";
import { InputError } from "../vm/errors.ts";
import type { BootSpec } from "./boot.ts";
import { followsLoader } from "./load.ts";

/** Where the VGA's window is, and its length in bytes. */
export const VGA_WINDOW = BigInt(WINDOW);
export const VGA_WINDOW_BYTES = WINDOW_BYTES;

/**
 * Whether a guest shall have a VGA.
 *
 * @param asked What the user said, if anything.
 * @throws {InputError} If one is asked for and the image lies where its window is.
 */
export function wantsVga(
  boot: BootSpec | undefined,
  asked: boolean | undefined,
  image: BootImage | undefined,
): boolean {
  // Linux has its console elsewhere.
  const wanted = asked ?? (boot?.kind === "firmware" || boot?.kind === "boot-sector" ||
    (boot?.kind === "elf" && followsLoader(image)));
  if (!wanted) return false;
  const end = VGA_WINDOW + BigInt(VGA_WINDOW_BYTES);
  const over = image?.writes.some(({ at, bytes }) => at < end && at + BigInt(bytes.length) > VGA_WINDOW);
  if (!over) return true;
  if (asked === undefined) return false;
  throw new InputError("the image lies where the VGA has its window, from 0xa0000 to 0xbffff", {
    remedy: "leave vga out, or place the image elsewhere",
  });
}
