import { ShellError } from "./error.ts";
import { nearest } from "./nearest.ts";
import { parseSize } from "./size.ts";
import { bootValue, drivesOf, driveValue } from "./drive_options.ts";
import { nicValue } from "./nic_options.ts";
import { accelerator, QEMU_OPTIONS } from "./qemu_options.ts";

/** What stands on the command line of `hvsh`, with QEMU's names where QEMU has one. */
export interface CommandLine {
  /** Firmware image (`-bios`). */
  bios?: string;
  /** Kernel, with its initial RAM disk and command line (`-kernel`, `-initrd`, `-append`). */
  kernel?: string;
  initrd?: string;
  append?: string;
  bootSector?: string;
  /** Disks by place (`-hda` to `-hdd`), the CD-ROM's medium (`-cdrom`), floppy disks (`-fda`, `-fdb`). */
  drives?: { disk: (string | undefined)[]; cdrom?: string; floppy?: (string | undefined)[] };
  /** Drives of `-drive if=none`, by their id, and the files of virtio disks. */
  named?: Map<string, { file: string; cdrom: boolean }>;
  virtio?: string[];
  /** Networks of `-netdev`, by their id, in the words of `device_add virtio-net`. */
  networks?: Map<string, string>;
  /** Network cards: on a named network, or with words of their own. */
  cards?: { network?: string; words?: string; mac?: string }[];
  /** Other virtio devices, as `device_add` names them. */
  plug?: string[];
  /** Whether the disks' files stay as they are (`-snapshot`). */
  snapshot?: boolean;
  /** Boot order in QEMU's letters (`-boot`): a is the floppy disk, c the disk, d the CD-ROM. */
  boot?: { order?: ("disk" | "cdrom" | "floppy")[]; menu?: boolean };
  /** A binary without headers, and how it starts: "FILE,at=0x1000,mode=real". */
  flat?: { file: string; at?: bigint; mode?: "real" | "protected" | "long" };
  /** An image whose kind is told by its contents. */
  file?: string;
  /** A guest of others to attach to (`attach gdb:ADDRESS`), and its QEMU's monitor (`--qmp`). */
  attach?: string;
  qmp?: string;
  /** Bytes of memory (`-m`). */
  memory?: number;
  /** Number of vCPUs (`-smp`). */
  cpus?: number;
  /** The processor it sees (`-cpu`). */
  cpu?: string;
  /** Whether it has what kvm-unit-tests drive (`-device pc-testdev`). */
  testdev?: boolean;
  /** The file that LPT1 prints to (`-parallel file:PATH`). */
  parallel?: string;
  /** Whether it has a VGA (`-vga`). */
  vga?: boolean;
  backend?: string;
  /** Folder to record in, and one to replay. */
  record?: string;
  replay?: string;
  /** A domain of Xen's to attach to, by name or number (`attach xen:NAME`). */
  domain?: string;
  irqchip?: boolean;
  /** Whether the guest shall run at once (`--run`) or was asked to stay paused (`-S`). */
  start?: "run" | "paused";
  /** Where gdb is waited for (`--gdb`). */
  gdb?: string;
  /** Commands and files of commands, in their order. */
  actions: { kind: "command" | "file"; text: string }[];
  json: boolean;
  batch: boolean;
  quiet: boolean;
  /** Whether lines of files are shown before they run, as if typed. */
  echo: boolean;
  /** Whether ~/.config/hvsh is left alone. */
  norc: boolean;
  /** Whether the prompt comes after the actions. */
  interactive: boolean;
  /** Directory against which paths are meant. */
  cwd?: string;
  /** What to print instead of doing anything. */
  show?: "help" | "version";
}

/** One option: help and parser read the same row. */
export interface OptionRow {
  /** Spellings; "--bios" is taken for "-bios" and the other way round without being listed. */
  readonly names: readonly string[];
  /** Placeholder of its value; none for a switch. */
  readonly value?: string;
  /** One line for `--help`; none for options that are not for people. */
  readonly help?: string;
  /** Puts it into `into`. @throws {ShellError} If the value makes no sense. */
  take(into: CommandLine, value: string): void;
}

/** Every option, in the order of `--help`. */
export const OPTIONS: readonly OptionRow[] = [
  {
    names: ["-bios"],
    value: "FILE",
    help: "boot firmware from the reset vector",
    take: (o, v) => o.bios = v,
  },
  {
    names: ["-kernel"],
    value: "FILE",
    help: "boot a kernel: multiboot or PVH ELF, plain ELF, Linux bzImage",
    take: (o, v) => o.kernel = v,
  },
  {
    names: ["-initrd"],
    value: "FILE",
    help: "initial RAM disk, or multiboot modules",
    take: (o, v) => o.initrd = v,
  },
  ...["-hda", "-hdb", "-hdc", "-hdd"].map((name, i): OptionRow => ({
    names: [name],
    value: "FILE",
    help: i === 0
      ? "the first IDE disk; firmware boots it (SeaBIOS without -bios and -kernel); -hdb to -hdd too"
      : undefined,
    take: (o, v) => drivesOf(o).disk[i] = v,
  })),
  {
    names: ["-cdrom"],
    value: "FILE",
    help: "an ISO image in the CD-ROM drive (hdc)",
    take: (o, v) => drivesOf(o).cdrom = v,
  },
  ...["-fda", "-fdb"].map((name, i): OptionRow => ({
    names: [name],
    value: "FILE",
    help: i === 0 ? "a floppy disk's image in drive A, booted by firmware; -fdb too" : undefined,
    take: (o, v) => (drivesOf(o).floppy ??= [])[i] = v,
  })),
  {
    names: ["-drive"],
    value: "file=FILE[,media=cdrom][,if=floppy][,snapshot=on][,index=N]",
    help: "a disk, as QEMU spells it",
    take: driveValue,
  },
  { names: ["-snapshot"], help: "keep what the guest writes in memory only", take: (o) => o.snapshot = true },
  {
    names: ["-boot"],
    value: "[order=]cad[,menu=on|off]",
    help: "what firmware boots first: c the disk, a the floppy disk, d the CD-ROM",
    take: (o, v) => o.boot = bootValue(v),
  },
  {
    names: ["-nic"],
    value: "user[,hostfwd=tcp::HOSTPORT-:PORT][,restrict=on] | tap,ifname=NAME",
    help: "a virtio network card; ports listen on loopback unless an address is named",
    take: nicValue,
  },
  { names: ["-append"], value: "TEXT", help: "the kernel's command line", take: (o, v) => o.append = v },
  {
    names: ["--boot-sector"],
    value: "FILE",
    help: "boot a 512-byte boot sector at 0000:7c00",
    take: (o, v) => o.bootSector = v,
  },
  {
    names: ["--flat"],
    value: "FILE[,at=ADDRESS][,mode=real|protected|long]",
    help: "start a binary without headers",
    take: (o, v) => o.flat = flatValue(v),
  },
  {
    names: ["-m"],
    value: "SIZE",
    help: "memory: 64 (MiB), 512K, 1G",
    take: (o, v) => o.memory = parseSize(v),
  },
  {
    names: ["-smp"],
    value: "N",
    help: "number of vCPUs",
    take: (o, v) => o.cpus = vcpusOf(v),
  },
  {
    names: ["-cpu"],
    value: "MODEL",
    help: "the processor: host, or without features: host,-avx2 (on kvm and qemu)",
    take(o, v) {
      // What QEMU calls max is what a guest has anyway.
      if (v !== "max") o.cpu = v.replace(/^max(?=,)/, "host");
    },
  },
  {
    names: ["--qmp"],
    value: "ADDRESS",
    help: "QEMU's machine protocol beside the stub that is attached to: HOST:PORT or unix:PATH",
    take: (o, v) => o.qmp = v,
  },
  {
    names: ["--backend", "-accel"],
    value: "NAME",
    help: "hypervisor: kvm, fake, ...; the best usable one if left out",
    take: (o, v) => o.backend = accelerator(v),
  },
  {
    names: ["--record"],
    value: "FOLDER",
    help: "have QEMU record the run there, until the guest is closed (--backend qemu)",
    take: (o, v) => o.record = v,
  },
  {
    names: ["--replay"],
    value: "FOLDER",
    help: "run the recorded guest again, for reverse-stepi and reverse-continue too (--backend qemu)",
    take: (o, v) => o.replay = v,
  },
  {
    names: ["-vga"],
    value: "std|none",
    help: "a VGA, which all but Linux, plain ELF files and flat binaries have by themselves",
    take(o, v) {
      if (v !== "std" && v !== "none") {
        throw new ShellError(
          `-vga ${v}: there is std, and none`,
          "A kernel's text is seen by `screen` with -vga std.",
        );
      }
      o.vga = v === "std";
    },
  },
  {
    names: ["--no-irqchip"],
    help: "no interrupt controllers in the hypervisor",
    take: (o) => o.irqchip = false,
  },
  { names: ["-S"], help: "open the guest paused (as always, unless --run)", take: (o) => o.start = "paused" },
  { names: ["--run"], help: "let the guest run at once", take: (o) => o.start = "run" },
  {
    names: ["--gdb"],
    value: "PORT",
    help: "wait for gdb there: PORT or HOST:PORT (loopback if no host), or unix:PATH",
    take: (o, v) => o.gdb = v,
  },
  {
    names: ["-c"],
    value: "LINE",
    help: "run a line of commands or TypeScript, then leave; may be repeated",
    take: (o, v) => o.actions.push({ kind: "command", text: v }),
  },
  {
    names: ["-x"],
    value: "FILE",
    help: "run a file of commands or a .ts module, then leave; may be repeated",
    take: (o, v) => o.actions.push({ kind: "file", text: v }),
  },
  { names: ["-i", "--interactive"], help: "prompt after -c and -x", take: (o) => o.interactive = true },
  { names: ["--batch"], help: "never prompt", take: (o) => o.batch = true },
  {
    names: ["--echo"],
    help: "show each line of a file of commands before it runs",
    take: (o) => o.echo = true,
  },
  {
    names: ["--json"],
    help: "print each answer as one line of JSON, with up to 1 Mi characters that the guest printed",
    take: (o) => o.json = true,
  },
  { names: ["-q", "--quiet"], help: "no greeting", take: (o) => o.quiet = true },
  { names: ["--norc"], help: "don't run ~/.config/hvsh/hvshrc and init.ts", take: (o) => o.norc = true },
  { names: ["--cwd"], value: "DIRECTORY", take: (o, v) => o.cwd = v },
  { names: ["-h", "--help", "-help"], help: "this text", take: (o) => o.show = "help" },
  { names: ["--version", "-version"], help: "the version", take: (o) => o.show = "version" },
  ...QEMU_OPTIONS,
];

/** The row that `name` (as typed, "-bios" or "--bios") means. */
function rowOf(name: string): OptionRow | undefined {
  const exact = OPTIONS.find((row) => row.names.includes(name));
  if (exact || name.replace(/^-+/, "").length < 2) return exact;
  const bare = name.replace(/^--?/, "");
  return OPTIONS.find((row) => row.names.some((n) => n.replace(/^--?/, "") === bare && bare.length > 1));
}

/**
 * Reads the process's arguments.
 *
 * @throws {ShellError} For an unknown option (naming the nearest one), a missing or senseless value.
 */
export function parseOptions(argv: readonly string[]): CommandLine {
  const found: CommandLine = {
    actions: [],
    json: false,
    batch: false,
    quiet: false,
    echo: false,
    norc: false,
    interactive: false,
  };
  let optionsEnded = false;
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i];
    if (word === "attach" && !optionsEnded && found.attach === undefined && found.domain === undefined) {
      const target = argv[++i];
      if (/^xen:./.test(target ?? "")) found.domain = target.slice(4);
      else found.attach = stubAddress(target);
      continue;
    }
    if (optionsEnded || word === "-" || !word.startsWith("-")) {
      if (word === "") throw new ShellError("The image's name is empty", "Name a file to boot, or none.");
      if (found.file !== undefined) {
        throw new ShellError(
          `\`${word}\`: there is already an image, \`${found.file}\``,
          "Name one file to boot.",
        );
      }
      found.file = word;
      continue;
    }
    if (word === "--") {
      optionsEnded = true;
      continue;
    }
    const [, name, attached] = /^(--[^=]+)=([^]*)$/.exec(word) ?? [word, word, undefined];
    const row = rowOf(name);
    if (!row) throw unknownOption(name);
    if (row.value === undefined) {
      if (attached !== undefined) throw new ShellError(`${name} takes no value`, `Write ${name} alone.`);
      row.take(found, "");
      continue;
    }
    const value = attached ?? argv[++i];
    // `-kernel -c LINE`: no file is called -c. Texts and lines may be. `-kernel ""`: a script's variable is not set.
    const isOption = attached === undefined && value !== undefined && rowOf(value) !== undefined;
    const isUnset = attached === undefined && value === "";
    if (value === undefined || ((isOption || isUnset) && !/^(?:TEXT|LINE)/.test(row.value))) {
      throw new ShellError(`${name} lacks its ${row.value}`, `Write ${name} ${row.value}.`);
    }
    row.take(found, value);
  }
  check(found);
  return found;
}

/** The address in "gdb:HOST:PORT". */
function stubAddress(target: string | undefined): string {
  if (target?.startsWith("gdb:")) return target.slice(4);
  throw new ShellError(
    target === undefined ? "attach lacks its target" : `hvsh can't attach to \`${target}\``,
    "Write attach gdb:HOST:PORT, gdb:unix:PATH or xen:DOMAIN; ./attach is a file of that name.",
  );
}

/** `-smp 2`, `-smp cpus=2`, and QEMU's topologies as long as they are of that many. */
function vcpusOf(text: string): number {
  const senseless = new ShellError(`-smp takes a number of vCPUs, not \`${text}\``, "For example: -smp 2");
  let cpus: number | undefined;
  let product = 1;
  for (const part of text.split(",")) {
    const [, key = "cpus", digits] =
      /^(?:(cpus|sockets|dies|cores|threads|maxcpus)=)?(\d{1,4})$/.exec(part) ?? [];
    if (digits === undefined || Number(digits) === 0) throw senseless;
    if (key === "cpus") cpus = Number(digits);
    else if (key !== "maxcpus") product *= Number(digits);
  }
  const count = cpus ?? product;
  if (count > 4096 || count % product !== 0) throw senseless;
  return count;
}

function unknownOption(name: string): ShellError {
  const names = OPTIONS.filter((row) => row.help !== undefined).flatMap((row) => row.names);
  const near = nearest(
    name.replace(/^-+/, ""),
    names.map((n) => n.replace(/^-+/, "")).filter((n) => n.length > 1),
  );
  const spelled = names.find((n) => n.replace(/^-+/, "") === near);
  return new ShellError(
    `There is no option ${name}`,
    spelled === undefined
      ? "--help lists the options."
      : `Did you mean ${spelled}? --help lists the options.`,
  );
}

function flatValue(text: string): NonNullable<CommandLine["flat"]> {
  const [file, ...settings] = text.split(",");
  const flat: NonNullable<CommandLine["flat"]> = { file };
  for (const setting of settings) {
    const [, key, value] = /^(\w+)=(.*)$/.exec(setting) ?? [];
    if (key === "at" && /^(0x[0-9a-f]+|\d+)$/i.test(value)) flat.at = BigInt(value);
    else if (key === "mode" && (value === "real" || value === "protected" || value === "long")) {
      flat.mode = value;
    } else {
      throw new ShellError(
        `--flat does not understand \`${setting}\``,
        "Write --flat FILE,at=0x1000,mode=real (or protected, or long).",
      );
    }
  }
  return flat;
}

/** Whether there are drives, which firmware boots. */
export function hasDrives(found: CommandLine): boolean {
  return found.drives !== undefined || found.virtio !== undefined;
}

/** The options that say what to boot; only one of them may be there. */
export function bootOptions(found: CommandLine): string[] {
  return [
    found.bios === undefined ? "" : "-bios",
    found.kernel === undefined ? "" : "-kernel",
    found.bootSector === undefined ? "" : "--boot-sector",
    found.flat === undefined ? "" : "--flat",
    found.file === undefined ? "" : found.file,
    found.domain === undefined ? "" : `attach xen:${found.domain}`,
  ].filter((name) => name !== "");
}

function check(found: CommandLine): void {
  const boots = bootOptions(found);
  if (boots.length > 1) {
    throw new ShellError(`${boots.join(" and ")} can't be together`, "Name one thing to boot.");
  }
  if (found.kernel === undefined && found.file === undefined) {
    for (const name of ["initrd", "append"] as const) {
      if (found[name] !== undefined) throw new ShellError(`-${name} goes with -kernel`, "Add -kernel FILE.");
    }
  }
}
