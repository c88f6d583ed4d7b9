import { cached, fingerprint, run } from "./cache.ts";
import type { HostKernel } from "./kernel.ts";

/** How a kernel in a bzImage may be packed: its first bytes, the program that unpacks it, and whether the kernel's
 * build appended the unpacked size, which the program would take for rubbish. */
const PACKERS = [
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], program: "xz", size: true },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], program: "zstd", size: true },
  { magic: [0x1f, 0x8b], program: "gzip", size: false },
];

/**
 * The kernel unpacked to the ELF file that QEMU (by its PVH note) and Xen start directly: its own unpacking takes 5 s
 * under TCG, ours half a second once. A kernel packed in another way is given as it is, which works too.
 *
 * @returns The path of an ELF file or bzImage in the cache.
 * @throws {LabError} If the cache can't be written or the packing program is missing.
 */
export async function linuxImage(kernel: HostKernel, cache: string): Promise<string> {
  return await cached(cache, "linux", fingerprint([kernel.image]), async () => {
    const image = Deno.readFileSync(kernel.image);
    const payload = kernelPayload(image);
    const packer = PACKERS.find(({ magic }) => magic.every((byte, n) => payload[n] === byte));
    if (packer === undefined) return image;
    return await run(packer.program, ["-dc"], packer.size ? payload.subarray(0, -4) : payload);
  });
}

/**
 * The packed kernel inside a bzImage. Linux's Documentation/arch/x86/boot.rst: setup_sects at 0x1f1, payload_offset at
 * 0x248, payload_length at 0x24c, little-endian; the offset counts from the protected-mode code, which begins after
 * the boot sector and the setup sectors. What is no bzImage gives no bytes.
 */
export function kernelPayload(image: Uint8Array): Uint8Array {
  const header = new DataView(image.buffer, image.byteOffset, image.byteLength);
  if (image.length < 0x260 || header.getUint32(0x202, true) !== 0x53726448 /* "HdrS" */) {
    return image.subarray(0, 0);
  }
  const start = (header.getUint8(0x1f1) + 1) * 512 + header.getUint32(0x248, true);
  return image.subarray(start, start + header.getUint32(0x24c, true));
}

/**
 * The Xen image as the ELF file that QEMU's multiboot loader takes: Debian packs it with gzip.
 *
 * @returns The path of the unpacked image in the cache.
 * @throws {LabError} If Xen is not installed or the cache can't be written.
 */
export async function xenImage(packed: string, cache: string): Promise<string> {
  return await cached(
    cache,
    "xen",
    fingerprint([packed]),
    () => run("gzip", ["-dc"], Deno.readFileSync(packed)),
  );
}
