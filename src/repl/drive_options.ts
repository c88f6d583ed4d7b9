/** The options that say which drives a guest has, in QEMU's words. */
import { ShellError } from "./error.ts";
import type { CommandLine } from "./options.ts";

/** The drives of a command line, made if there are none yet. */
export function drivesOf(line: CommandLine): NonNullable<CommandLine["drives"]> {
  return line.drives ??= { disk: [] };
}

/** `-drive file=FILE,media=disk|cdrom,index=N,snapshot=on|off`; a doubled comma is a comma. */
export function driveValue(line: CommandLine, text: string): void {
  const drives = drivesOf(line);
  let file: string | undefined;
  let index: number | undefined;
  let cdrom = false;
  for (const part of text.split(/(?<!,),(?!,)/)) {
    const [, key, value] = /^(\w+)=([^]*)$/.exec(part.replaceAll(",,", ",")) ?? [];
    if (key === "file") file = value;
    else if (key === "media" && (value === "disk" || value === "cdrom")) cdrom = value === "cdrom";
    else if (key === "index" && /^[0-3]$/.test(value)) index = Number(value);
    else if (key === "snapshot" && (value === "on" || value === "off")) line.snapshot ||= value === "on";
    else if ((key !== "format" || value !== "raw") && (key !== "if" || value !== "ide")) {
      throw new ShellError(
        `-drive does not understand \`${part}\``,
        "It takes file=, media=disk or cdrom, index=0 to 3, snapshot=on, format=raw and if=ide.",
      );
    }
  }
  if (file === undefined) throw new ShellError("-drive lacks its file", "Write -drive file=FILE.");
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
  const place = index ?? free;
  if (place === undefined) throw new ShellError("There are four places for IDE drives", "Leave one out.");
  drives.disk[place] = file;
}

const LETTERS: Readonly<Record<string, "disk" | "cdrom">> = { c: "disk", d: "cdrom" };

/** `-boot cd`, `-boot order=cd,menu=on`. */
export function bootValue(text: string): NonNullable<CommandLine["boot"]> {
  const boot: NonNullable<CommandLine["boot"]> = {};
  for (const part of text.split(",")) {
    const [, letters] = /^(?:order=)?([cd]+)$/.exec(part) ?? [];
    if (letters !== undefined) boot.order = [...letters].map((letter) => LETTERS[letter]);
    else if (part === "menu=on" || part === "menu=off") boot.menu = part === "menu=on";
    else {
      throw new ShellError(
        `-boot does not understand \`${part}\``,
        "Write -boot c (disk), -boot d (CD-ROM), -boot order=dc,menu=on.",
      );
    }
  }
  return boot;
}
