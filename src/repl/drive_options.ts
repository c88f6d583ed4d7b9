/** The options that say which drives a guest has, in QEMU's words. */
import { commaList } from "./comma_list.ts";
import { ShellError } from "./error.ts";
import type { CommandLine } from "./options.ts";

/** The drives of a command line, made if there are none yet. */
export function drivesOf(line: CommandLine): NonNullable<CommandLine["drives"]> {
  return line.drives ??= { disk: [] };
}

/** `-drive file=FILE,media=disk|cdrom,index=N,snapshot=on|off`; a doubled comma is a comma. */
export function driveValue(line: CommandLine, text: string): void {
  let file: string | undefined;
  let index: number | undefined;
  let cdrom = false;
  let bus = "ide";
  let id: string | undefined;
  for (const part of commaList(text)) {
    const [, key, value] = /^(\w+)=([^]*)$/.exec(part) ?? [];
    if (key === "file") file = value;
    else if (key === "media" && (value === "disk" || value === "cdrom")) cdrom = value === "cdrom";
    else if (key === "index" && /^[0-3]$/.test(value)) index = Number(value);
    else if (key === "snapshot" && (value === "on" || value === "off")) line.snapshot ||= value === "on";
    else if (
      key === "if" && (value === "ide" || value === "floppy" || value === "virtio" || value === "none")
    ) bus = value;
    else if (key === "id") id = value;
    else if (!(key === "format" && (value === "raw" || value === "qcow2")) && key !== "cache") {
      throw new ShellError(
        `-drive does not understand \`${part}\``,
        "It takes file=, media=disk or cdrom, index=0 to 3, snapshot=on, format=, id=, and if=ide, floppy, virtio or none.",
      );
    }
  }
  if (!file) throw new ShellError("-drive lacks its file", "Write -drive file=FILE.");
  if (bus === "none") {
    if (id === undefined) {
      throw new ShellError("-drive if=none lacks its id", "Write -drive if=none,id=disk0,file=FILE.");
    }
    (line.named ??= new Map()).set(id, { file, cdrom });
    return;
  }
  if (bus === "virtio") {
    (line.virtio ??= []).push(file);
    return;
  }
  if (bus === "floppy") {
    const inside = drivesOf(line).floppy ??= [];
    const at = index ?? [0, 1].find((i) => inside[i] === undefined);
    if (cdrom || at === undefined || at > 1) {
      throw new ShellError("There are two floppy drives", "Write -drive file=FILE,if=floppy,index=0 or 1.");
    }
    inside[at] = file;
    return;
  }
  place(line, file, { cdrom, index });
}

/** `-device NAME,drive=ID`: the drive that `-drive if=none,id=ID` named, on a bus. */
export function driveBehind(line: CommandLine, device: string, id: string | undefined): void {
  const drive = line.named?.get(id ?? "");
  if (drive === undefined) {
    throw new ShellError(
      `-device ${device} has no drive${id === undefined ? "" : ` ${id}`}`,
      "Write -drive if=none,id=disk0,file=FILE before it, and drive=disk0 in it.",
    );
  }
  if (device.startsWith("virtio")) (line.virtio ??= []).push(drive.file);
  else place(line, drive.file, { cdrom: device === "ide-cd" || drive.cdrom });
}

/** Puts an IDE drive where it was told, or at the first free place. */
function place(line: CommandLine, file: string, { cdrom, index }: { cdrom: boolean; index?: number }): void {
  const drives = drivesOf(line);
  if (cdrom) {
    if (index !== undefined && index !== 2) {
      throw new ShellError("The CD-ROM drive is index 2", "Leave index out.");
    }
    drives.cdrom = file;
    return;
  }
  const free = [0, 1, 2, 3].find((i) =>
    drives.disk[i] === undefined && (i !== 2 || drives.cdrom === undefined)
  );
  const at = index ?? free;
  if (at === undefined) throw new ShellError("There are four places for IDE drives", "Leave one out.");
  drives.disk[at] = file;
}

const LETTERS: Readonly<Record<string, "disk" | "cdrom" | "floppy">> = { a: "floppy", c: "disk", d: "cdrom" };

/** `-boot cd`, `-boot order=cd,menu=on`. */
export function bootValue(text: string): NonNullable<CommandLine["boot"]> {
  const boot: NonNullable<CommandLine["boot"]> = {};
  for (const part of text.split(",")) {
    const [, letters] = /^(?:order=)?([acd]+)$/.exec(part) ?? [];
    if (letters !== undefined) boot.order = [...letters].map((letter) => LETTERS[letter]);
    else if (part === "menu=on" || part === "menu=off") boot.menu = part === "menu=on";
    else {
      throw new ShellError(
        `-boot does not understand \`${part}\``,
        "Write -boot c (disk), -boot a (floppy disk), -boot d (CD-ROM), -boot order=dc,menu=on.",
      );
    }
  }
  return boot;
}
