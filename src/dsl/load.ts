import type { BackendVcpu, MaybePromise } from "../vm/backend.ts";
import { UnsupportedError } from "../vm/errors.ts";
import { enableLapic } from "../x86/apic.ts";
import type { BootImage } from "../x86/boot/image.ts";

/** Whether the protocol is one of boot loaders, which run behind a BIOS: such kernels count on the PC that it leaves. */
export function followsLoader(image: BootImage | undefined): boolean {
  return image?.protocol === "multiboot" || image?.protocol === "pvh";
}

/** Puts a boot image into memory and the first vCPU into its start state. */
export async function loadImage(
  vcpu: BackendVcpu,
  image: BootImage,
  write: (at: bigint, bytes: Uint8Array) => MaybePromise<void>,
): Promise<void> {
  for (const { at, bytes, zeros = 0 } of image.writes) {
    await write(at, bytes);
    if (zeros > 0) await zero(at + BigInt(bytes.length), zeros, write);
  }
  if (followsLoader(image)) await unlessMissing(() => switchLapicOn(vcpu));
  if (followsLoader(image) || image.protocol === "linux") {
    await unlessMissing(async () => await vcpu.writeMsr(MTRR_DEF_TYPE, WRITE_BACK));
  }
  await vcpu.setRegisters(image.registers);
}

/** IA32_MTRR_DEF_TYPE: E, and all memory write-back (SDM vol. 3A, 12.11.2.1). A BIOS has them on; Linux without uses no PAT. */
const MTRR_DEF_TYPE = 0x2ff;
const WRITE_BACK = 0x806n;

/** Kernels that a boot loader starts find the local APIC switched on, if the machine has one. */
async function switchLapicOn(vcpu: BackendVcpu): Promise<void> {
  const page = await vcpu.lapic();
  enableLapic(page);
  await vcpu.setLapic(page);
}

/** What a BIOS would have set up, where the backend lets us. */
async function unlessMissing(setUp: () => Promise<void>): Promise<void> {
  try {
    await setUp();
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
  }
}

const CHUNK = 1 << 20;

async function zero(
  at: bigint,
  length: number,
  write: (at: bigint, bytes: Uint8Array) => MaybePromise<void>,
): Promise<void> {
  const chunk = new Uint8Array(Math.min(CHUNK, length));
  for (let done = 0; done < length; done += chunk.length) {
    await write(at + BigInt(done), chunk.subarray(0, Math.min(chunk.length, length - done)));
  }
}
