/**
 * QEMU's options that say what is so here anyway, so that its command lines can be pasted; what asks for something
 * else is refused with what there is.
 */
import { driveBehind } from "./drive_options.ts";
import { ShellError } from "./error.ts";
import { cardOn, netdevValue, notVirtio, objectValue } from "./nic_options.ts";
import type { CommandLine, OptionRow } from "./options.ts";

/** A switch that changes nothing. */
const given = (name: string): OptionRow => ({ names: [name], take: () => {} });

/** An option of which some values change nothing. */
const only = (name: string, values: RegExp, remedy: string): OptionRow => ({
  names: [name],
  value: "VALUE",
  take(_, value) {
    if (!values.test(value)) throw new ShellError(`${name} ${value} can't be had here`, remedy);
  },
});

const DISPLAY = "Leave it out: `screen` and `screenshot` show the guest's display.";
const SERIAL = "Leave it out: the first serial port is the guest's console.";
const NET = "Write -nic user: a virtio card on a network of this process.";

/** Whether a PC's debug-exit port, as `-device isa-debug-exit` may say it, is where it is here. */
const EXIT_SETTINGS: Readonly<Record<string, number>> = { iobase: 0xf4, iosize: 4 };

/** `-machine pc,accel=kvm`. */
function machine(line: CommandLine, value: string): void {
  for (const part of value.split(",")) {
    const [, key, word] = /^(?:([\w-]+)=)?([^]*)$/.exec(part)!;
    if (key === "accel") line.backend = accelerator(word);
    else if ((key === undefined || key === "type") && /^(?:pc|pc-i440fx-[\d.]+)$/.test(word)) continue;
    else if (key === undefined || key === "type") {
      throw new ShellError(
        `There is no machine ${word} here`,
        "Write -M pc, or nothing: it is a PC with an i440FX.",
      );
    } else if (!/^(?:usb|vmport|hpet|graphics|smm)$/.test(key) || word !== "off") {
      throw new ShellError(`-machine does not understand \`${part}\``, "It takes pc and accel=NAME.");
    }
  }
}

/** The backend that QEMU's accelerators are here: "kvm:tcg" is kvm, or what there is without it. */
export function accelerator(value: string): string | undefined {
  const [first, ...others] = value.split(/[:,]/);
  if (first === "tcg") return "qemu";
  return first === "kvm" && others.includes("tcg") ? undefined : first;
}

/** `-device NAME,...`: what a PC has, and disks of `-drive if=none`. */
function device(line: CommandLine, value: string): void {
  const [name, ...settings] = value.split(",");
  const options = new Map(settings.map((s): [string, string] => {
    const at = s.indexOf("=");
    return at < 0 ? [s, ""] : [s.slice(0, at), s.slice(at + 1)];
  }));
  switch (name) {
    case "isa-debug-exit":
      for (const [key, number] of options) {
        if (Number(number) !== EXIT_SETTINGS[key]) {
          throw new ShellError(
            `isa-debug-exit can't have ${key}=${number}`,
            "It is at iobase=0xf4, iosize=4.",
          );
        }
      }
      return;
    case "pvpanic":
    case "isa-debugcon":
    case "piix3-ide":
    case "isa-serial":
      return;
    case "pc-testdev":
      line.testdev = true;
      return;
    case "VGA":
      line.vga = true;
      return;
    case "virtio-net-pci":
    case "virtio-net":
      return cardOn(line, options);
    case "virtio-rng-pci":
    case "virtio-balloon-pci":
    case "virtio-serial-pci":
      // Where its numbers come from is no matter, nor on which of its buses a console is.
      (line.plug ??= []).push(name);
      return;
    case "virtconsole":
      if (!line.plug?.includes("virtio-serial-pci")) (line.plug ??= []).push("virtio-serial-pci");
      return;
    case "e1000":
    case "e1000e":
    case "rtl8139":
    case "ne2k_pci":
      throw notVirtio(`-device ${name}`);
    case "virtio-blk-pci":
    case "virtio-blk":
    case "virtio-blk-device":
    case "ide-hd":
    case "ide-cd":
      return driveBehind(line, name, options.get("drive"));
    default:
      throw new ShellError(
        `-device ${name} can't be had here`,
        "Of QEMU's there are virtio-blk-pci, -net-, -rng-, -balloon- and -serial-pci, ide-hd, ide-cd, VGA; others are TypeScript.",
      );
  }
}

/** `-parallel file:PATH`. */
function parallel(line: CommandLine, value: string): void {
  const [, path] = /^file:([^]+)$/.exec(value) ?? [];
  if (path !== undefined) line.parallel = path;
  else if (value !== "none") {
    throw new ShellError(`-parallel ${value} can't be had here`, "It takes file:PATH, or none.");
  }
}

/** The rows, none of them in `--help`. */
export const QEMU_OPTIONS: readonly OptionRow[] = [
  ...["-nographic", "-nodefaults", "-no-user-config", "-no-reboot", "-no-shutdown", "-no-hpet"].map(given),
  { names: ["-enable-kvm"], take: (o) => o.backend = "kvm" },
  { names: ["-s"], take: (o) => o.gdb = "1234" },
  { names: ["-machine", "-M"], value: "pc[,accel=NAME]", take: machine },
  { names: ["-device"], value: "NAME[,SETTING=VALUE]", take: device },
  only("-display", /^none$/, DISPLAY),
  only("-vnc", /^none$/, DISPLAY),
  only("-serial", /^(?:stdio|mon:stdio|chardev:\w+)$/, SERIAL),
  only("-monitor", /^none$/, "Leave it out: the prompt is the monitor."),
  { names: ["-parallel"], value: "file:PATH", take: parallel },
  only("-debugcon", /^stdio$/, "Leave it out: what is written to port 0xe9 is on the console."),
  only("-net", /^none$/, NET),
  { names: ["-netdev"], value: "user|tap,id=ID[,SETTING=VALUE]", take: netdevValue },
  { names: ["-object"], value: "NAME[,SETTING=VALUE]", take: objectValue },
  only("-rtc", /^base=utc(?:,clock=\w+)?$/, "Leave it out: the clock has the host's time, in UTC."),
  only("-name", /^/, ""),
];
