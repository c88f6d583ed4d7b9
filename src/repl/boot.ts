import type { OpenOptions } from "../dsl/mod.ts";
import { commaList } from "./comma_list.ts";
import { ShellError } from "./error.ts";
import { cardLines } from "./nic_options.ts";
import { bootOptions, type CommandLine, hasDrives } from "./options.ts";
import { guessFile, type ImageGuess } from "./image.ts";

/** How the guest of a command line is opened. */
export interface GuestPlan {
  readonly options: OpenOptions;
  /** Devices that are plugged in before it starts, as `device_add` names them: in QEMU they are QEMU's. */
  readonly plug: readonly string[];
  /** What an image was taken for, when the command line did not say. */
  readonly note?: string;
}

/** Whether the command line says anything about a guest, so that one is opened at start. */
export function wantsGuest(line: CommandLine): boolean {
  return bootOptions(line).length > 0 || hasDrives(line) || line.start !== undefined ||
    line.memory !== undefined ||
    line.cpus !== undefined || line.cpu !== undefined || line.backend !== undefined ||
    line.irqchip !== undefined || line.record !== undefined || line.replay !== undefined ||
    line.vga !== undefined || line.testdev !== undefined || line.cards !== undefined ||
    line.plug !== undefined || line.parallel !== undefined;
}

/**
 * Makes the library's options of the command line's.
 *
 * @throws {ShellError} If an image can't be read or recognised.
 */
export async function planGuest(line: CommandLine): Promise<GuestPlan> {
  const options: OpenOptions = {};
  if (line.backend !== undefined) options.backend = line.backend as NonNullable<OpenOptions["backend"]>;
  if (line.record !== undefined) options.record = line.record;
  if (line.replay !== undefined) options.replay = line.replay;
  if (line.memory !== undefined) options.memory = line.memory;
  if (line.cpus !== undefined) options.cpus = line.cpus;
  if (line.cpu !== undefined) options.cpu = line.cpu;
  if (line.irqchip !== undefined) options.irqchip = line.irqchip;
  if (line.vga !== undefined) options.vga = line.vga;
  if (line.testdev) options.devices = [new (await import("../dsl/mod.ts")).PcTestdev()];
  if (line.parallel !== undefined) {
    const { parallelPort } = await import("../dsl/mod.ts");
    options.devices = [...options.devices ?? [], parallelPort(line.parallel)];
  }
  const path = line.file ?? line.kernel;
  const plug = [...diskLines(line), ...cardLines(line), ...line.plug ?? []];
  if (bootOptions(line).length === 0 && !hasDrives(line)) return { options, plug };
  const { bootSector, firmware, flat } = await import("../dsl/boot.ts");
  const { disk = [], cdrom, floppy } = line.drives ?? {};
  if (disk.length > 0) options.disk = disk;
  if (cdrom !== undefined) options.cdrom = cdrom;
  if (floppy !== undefined) options.floppy = floppy;
  if (line.snapshot !== undefined) options.snapshot = line.snapshot;
  if (line.bios !== undefined || bootOptions(line).length === 0) {
    options.boot = firmware(line.bios ?? await defaultFirmware(), line.boot);
  } else if (line.bootSector !== undefined) options.boot = bootSector(line.bootSector);
  else if (line.flat !== undefined) {
    const { file, at, mode } = line.flat;
    options.boot = flat(file, {
      ...(at === undefined ? {} : { at }),
      ...(mode === undefined ? {} : { mode }),
    });
  } else if (path !== undefined) {
    const guess = await guessFile(path);
    options.boot = await bootOf(guess, path, line);
    if (line.file !== undefined) {
      return { options, plug, note: `${path}: ${guess.because}, booted as ${guess.kind}.` };
    }
  }
  return { options, plug };
}

/** The disks of `-drive if=virtio`. */
function diskLines({ virtio = [], snapshot }: CommandLine): string[] {
  return virtio.map((file) =>
    `virtio-blk-pci ${file.replaceAll(",", ",,")}${snapshot ? ",snapshot=on" : ""}`
  );
}

/** Where Debian and others put SeaBIOS. */
const FIRMWARE = [
  "/usr/share/seabios/bios-256k.bin",
  "/usr/share/qemu/bios-256k.bin",
  "/usr/share/seabios/bios.bin",
];

/** @throws {ShellError} If there is no SeaBIOS. */
async function defaultFirmware(): Promise<string> {
  for (const path of FIRMWARE) if (await Deno.stat(path).then(() => true, () => false)) return path;
  throw new ShellError(
    "Disks are booted by firmware, and SeaBIOS is not in its usual places",
    "Install it (apt-get install seabios), or name one: -bios FILE.",
  );
}

async function bootOf(
  guess: ImageGuess,
  path: string,
  line: CommandLine,
): Promise<NonNullable<OpenOptions["boot"]>> {
  const { bootSector, elf, firmware, linux } = await import("../dsl/boot.ts");
  const cmdline = line.append === undefined ? {} : { cmdline: line.append };
  if (guess.kind === "firmware") return firmware(path);
  if (guess.kind === "boot-sector") return bootSector(path);
  if (guess.kind === "linux") {
    return linux({ kernel: path, ...cmdline, ...(line.initrd === undefined ? {} : { initrd: line.initrd }) });
  }
  return elf(path, { ...cmdline, ...(line.initrd === undefined ? {} : { modules: modulesOf(line.initrd) }) });
}

/** QEMU's form for multiboot modules: "FILE1 arguments,FILE2"; a doubled comma is a comma. */
function modulesOf(text: string): { image: string; cmdline: string }[] {
  return commaList(text).map((cmdline) => ({ image: cmdline.split(" ")[0], cmdline }));
}
