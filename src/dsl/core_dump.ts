/** `vm.dumpCore()`: all of a guest in a file, for crash(8) and gdb. */
import { InputError } from "../vm/errors.ts";
import { hostReason } from "./host_reason.ts";
import type { Machine } from "../vm/machine.ts";
import { coreHeader, type CoreImage } from "../x86/elf_core.ts";
import type { LinuxView } from "./linux.ts";

/** A core file that was written. */
export interface CoreDump {
  /** Its path. */
  readonly path: string;
  /** How long it is. What is zero takes no room on most file systems. */
  readonly bytes: bigint;
  /** Stretches of memory in it. */
  readonly segments: number;
  /** Whether it has a kernel's VMCOREINFO, which crash(8) needs. */
  readonly vmcoreinfo: boolean;
}

/** What is in memory at a time. */
const CHUNK = 1 << 20;

/**
 * Writes the file, a mebibyte at a time.
 *
 * @throws {InputError} If it can't be written; what there was of it is removed.
 */
export async function dumpCore(
  guest: Pick<Machine, "memory" | "vcpus">,
  linux: LinuxView,
  path: string,
): Promise<CoreDump> {
  const kernel = await linux.forCore();
  const direct = kernel?.direct ?? 0n;
  const memory = guest.memory.regions.map(({ start, size }) => ({
    physical: start,
    linear: BigInt.asUintN(64, direct + start),
    size,
  }));
  const images: CoreImage[] = kernel === undefined
    ? []
    : [{ physical: kernel.physical, linear: kernel.text, size: kernel.size }];
  const header = coreHeader({
    memory,
    images,
    vcpus: await Promise.all(guest.vcpus.map((vcpu) => vcpu.registers())),
    ...(kernel?.vmcoreinfo !== undefined && { vmcoreinfo: kernel.vmcoreinfo }),
  });
  const bytes = memory.reduce((sum, { size }) => sum + size, BigInt(header.length));
  const file = await create(path);
  let done = false;
  try {
    await write(file, header);
    const chunk = new Uint8Array(CHUNK);
    for (const { physical, size } of memory) {
      for (let at = 0n; at < size; at += BigInt(CHUNK)) {
        const part = size - at < BigInt(CHUNK) ? chunk.subarray(0, Number(size - at)) : chunk;
        await guest.memory.readInto(physical + at, part);
        if (isZero(part)) await file.seek(part.length, Deno.SeekMode.Current);
        else await write(file, part);
      }
    }
    await file.truncate(Number(bytes));
    done = true;
  } catch (cause) {
    if (!(cause instanceof Error) || cause.name === "FaultError" || cause.name === "StateError") throw cause;
    throw new InputError(`${path} can't be written: ${hostReason(cause)}`, {
      cause,
      remedy: "see whether there is room for all of the guest's memory",
    });
  } finally {
    file.close();
    if (!done) await removeFile(path);
  }
  return { path, bytes, segments: memory.length, vmcoreinfo: kernel?.vmcoreinfo !== undefined };
}

async function create(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, { write: true, create: true, truncate: true });
  } catch (cause) {
    throw new InputError(`${path} can't be written: ${hostReason(cause)}`, {
      cause,
      remedy: "check the path; it counts from the current folder",
    });
  }
}

/** Half a dump is of no use; a device such as /dev/full is not ours to take away. */
async function removeFile(path: string): Promise<void> {
  const { isFile } = await Deno.lstat(path);
  if (isFile) await Deno.remove(path);
}

async function write(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}

function isZero(bytes: Uint8Array): boolean {
  const words = new BigUint64Array(bytes.buffer, bytes.byteOffset, bytes.length >> 3);
  return words.every((word) => word === 0n);
}
