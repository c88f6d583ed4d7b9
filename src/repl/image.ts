import { ShellError } from "./error.ts";

/** What an image seems to be, by its contents. */
export interface ImageGuess {
  readonly kind: "elf" | "linux" | "multiboot" | "boot-sector" | "firmware";
  /** Why, for the sentence that says what was taken: "an ELF file". */
  readonly because: string;
}

/** Enough for every signature: multiboot's lies in the first 8 KiB (Multiboot Specification 0.6.96, 3.1.1). */
const HEAD_BYTES = 8192;

/**
 * Guesses what kind of image the bytes are.
 *
 * @param head The first bytes of the file, 8 KiB if it has so many.
 * @param size Bytes of the whole file.
 * @returns undefined if nothing fits.
 */
export function guessImage(head: Uint8Array, size: number): ImageGuess | undefined {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const u32 = (at: number) => at + 4 <= head.length ? view.getUint32(at, true) : 0;
  if (u32(0) === 0x464c457f) return { kind: "elf", because: "an ELF file" };
  // RFC 1952: boot loaders unpack kernels that gzip made.
  if (head[0] === 0x1f && head[1] === 0x8b && head[2] === 8) return { kind: "elf", because: "a gzip file" };
  // Linux/x86 boot protocol: "HdrS" at 0x202 (Documentation/arch/x86/boot.rst).
  if (u32(0x202) === 0x53726448) return { kind: "linux", because: "a Linux bzImage" };
  const sector = head.length >= 512 && head[510] === 0x55 && head[511] === 0xaa;
  if (sector && size === 512) return { kind: "boot-sector", because: "512 bytes that end in 55 AA" };
  for (let at = 0; at + 12 <= head.length; at += 4) {
    if (u32(at) === 0x1badb002 && (u32(at) + u32(at + 4) + u32(at + 8)) % 2 ** 32 === 0) {
      return { kind: "multiboot", because: `a multiboot header at ${at}` };
    }
  }
  if (size >= 0x10000 && size <= 0x1000000 && size % 0x10000 === 0 && !sector) {
    return { kind: "firmware", because: `a ROM of ${size / 1024} KiB` };
  }
  return undefined;
}

/** What is wrong with a multiboot header that is nearly one. */
export function brokenHeader(head: Uint8Array): { readonly at: number; readonly what: string } | undefined {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  for (let at = 0; at + 12 <= head.length; at++) {
    if (view.getUint32(at, true) !== 0x1badb002) continue;
    const sum = [0, 4, 8].reduce((all, offset) => all + view.getUint32(at + offset, true), 0) % 2 ** 32;
    const adds = sum === 0;
    // Four bytes that only look like the magic are no header: one of the two has to be right.
    if (!adds && at % 4 !== 0) continue;
    return { at, what: adds ? "is not at a multiple of 4" : "has a wrong checksum" };
  }
  return undefined;
}

/**
 * Guesses what kind of image a file is.
 *
 * @throws {ShellError} If it can't be read, or nothing fits; says what can be said instead.
 */
export async function guessFile(path: string): Promise<ImageGuess> {
  const head = new Uint8Array(HEAD_BYTES);
  let length = 0;
  let size: number;
  try {
    using file = await Deno.open(path);
    const status = await file.stat();
    if (status.isDirectory) throw new ShellError(`${path} is a directory`, "Name a file to boot.");
    size = status.size;
    while (length < head.length) {
      const got = await file.read(head.subarray(length));
      if (got === null) break;
      length += got;
    }
  } catch (error) {
    if (error instanceof ShellError) throw error;
    const reason = error instanceof Deno.errors.NotFound ? "there is no such file" : (error as Error).message;
    throw new ShellError(
      `${path} can't be read: ${reason}`,
      "Name a file to boot; --help lists the options.",
    );
  }
  if (length === 0) throw new ShellError(`${path} is empty`, "Build or copy the file again.");
  const guess = guessImage(head.subarray(0, length), size);
  if (guess) return guess;
  const broken = brokenHeader(head.subarray(0, length));
  if (broken !== undefined) {
    throw new ShellError(
      `${path} is no multiboot kernel: the header at ${broken.at} ${broken.what}`,
      "Magic, flags and checksum must add up to 0 (modulo 2^32), at a multiple of 4 in the first 8192 bytes.",
    );
  }
  throw new ShellError(
    `${path} is no ELF file, kernel, boot sector or ROM that could be recognised`,
    "Say what it is: -bios, -kernel, --boot-sector or --flat FILE,at=ADDRESS,mode=real.",
  );
}
