/** What of a boot specification Xen's toolstack loads, and what hvsh loads itself, for each kind of guest. */
import { UnsupportedError } from "../vm/errors.ts";
import type { BootImage, BootProtocol } from "../x86/boot/image.ts";
import { elfNotes, isElf, parseElf } from "../x86/elf.ts";
import type { BootSpec, HandedKernel } from "./boot.ts";

/** The kinds of guests. */
export type XenKind = "pv" | "pvh" | "hvm";

/** A kernel as the toolstack takes it. */
interface Kernel {
  readonly image: Uint8Array;
  readonly ramdisk?: Uint8Array;
  readonly cmdline?: string;
}

/** What is loaded by whom. */
export interface XenBoot {
  /** For hvsh: with nothing to write where the toolstack has done it. */
  readonly image?: BootImage;
  /** For the toolstack. */
  readonly kernel?: Kernel;
  /** A BIOS for the toolstack. */
  readonly firmware?: Uint8Array;
}

/** XEN_ELFNOTE_PHYS32_ENTRY (xen/elfnote.h): the kernel starts as a PVH guest. */
const PHYS32_ENTRY = 18;

/**
 * Linux, PV kernels and PVH kernels are the toolstack's, which tells them what Xen has for them; so is a BIOS, beside
 * which a device model is needed. Everything else hvsh puts into empty memory.
 *
 * @throws {UnsupportedError} If guests of this kind can't boot so.
 * @throws {InputError} If a file can't be read or makes no sense.
 */
export async function xenBoot(kind: XenKind, boot: BootSpec | undefined, memory: number): Promise<XenBoot> {
  if (boot?.kind === "firmware") {
    if (kind !== "hvm") refuse(boot, kind, "it has no device model, which firmware needs", "xen-hvm");
    const [rom] = (await boot.resolve(memory)).roms ?? [];
    return { ...(rom && { firmware: rom.bytes }), image: loaded("firmware") };
  }
  const handed = await boot?.handOver?.();
  if (kind === "pv" && handed !== undefined && boot!.kind === "elf") needPvKernel(boot!, handed.image);
  if (handed !== undefined && (boot!.kind === "linux" || takesElf(kind, handed))) {
    return { kernel: kernelOf(handed), image: loaded(protocolOf(kind, boot!), handed.image) };
  }
  if (kind === "pv") {
    refuse(
      boot,
      kind,
      "it starts from Linux, or an ELF kernel with Xen's notes, by Xen's own loader",
      "xen-pvh",
    );
  }
  return boot === undefined ? {} : { image: await boot.resolve(memory) };
}

function takesElf(kind: XenKind, { image, protocol }: HandedKernel): boolean {
  if (kind === "pv") return true;
  return kind === "pvh" && (protocol === undefined || protocol === "pvh") && isElf(image) &&
    elfNotes(parseElf(image)).some(({ name, type }) => name === "Xen" && type === PHYS32_ENTRY);
}

/** What makes no PV kernel is found before the toolstack makes a domain for it, and says so in words of its own. */
function needPvKernel(boot: BootSpec, image: Uint8Array): void {
  const file = parseElf(image);
  if (elfNotes(file).some(({ name }) => name === "Xen")) return;
  // Older kernels say the same there, in one string.
  if (file.sections.some(({ name }) => name === "__xen_guest")) return;
  refuse(boot, "pv", "the file has no notes of Xen's, by which its loader knows a PV kernel", "xen-pvh");
}

function kernelOf({ image, modules, cmdline }: HandedKernel): Kernel {
  if (modules.length > 1) {
    throw new UnsupportedError("modules", "Xen's toolstack loads one module beside a kernel", {
      remedy: "give one, or none",
    });
  }
  const [ramdisk] = modules;
  return { image, cmdline, ...(ramdisk && { ramdisk }) };
}

function protocolOf(kind: XenKind, { kind: boot }: BootSpec): BootProtocol {
  if (boot === "linux") return "linux";
  return kind === "pv" ? "xen-pv" : "pvh";
}

/** An image that is in memory already. */
function loaded(protocol: BootProtocol, file?: Uint8Array): BootImage {
  return { protocol, writes: [], registers: {}, notes: [], ...(file && isElf(file) && { symbols: file }) };
}

function refuse(boot: BootSpec | undefined, kind: XenKind, reason: string, other: string): never {
  const what = boot === undefined ? "a guest with nothing loaded" : `booting by ${boot.kind}`;
  throw new UnsupportedError(`${what} on xen-${kind}`, reason, { remedy: `use ${other}` });
}
