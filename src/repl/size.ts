import { ShellError } from "./error.ts";

const UNITS: Readonly<Record<string, number>> = {
  b: 1,
  k: 2 ** 10,
  m: 2 ** 20,
  g: 2 ** 30,
  t: 2 ** 40,
};

/**
 * Reads a size of memory as QEMU's `-m` does: a bare number is MiB; B, K, M, G, T (and KiB, MiB, ...) are units.
 *
 * @returns Bytes.
 * @throws {ShellError} If it is no size, not a whole number of bytes, or zero.
 */
export function parseSize(text: string): number {
  const match = /^(?:size=)?(\d+(?:\.\d+)?|0x[0-9a-f]+)\s*(?:([bkmgt])(?:i?b)?)?$/i.exec(text.trim());
  const bytes = match ? Number(match[1]) * UNITS[(match[2] ?? "m").toLowerCase()] : NaN;
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    throw new ShellError(`\`${text}\` is no size of memory`, "Write 64 (MiB), 64M, 512K or 1G.");
  }
  return bytes;
}
