/** QEMU's command line for a guest of hvsh's (qemu(1)). */
import type { BackendOptions } from "../../vm/backend.ts";
import { InputError } from "../../vm/errors.ts";
import { LOG } from "./recording.ts";
import { STATE_NODE } from "./qemu_monitor.ts";

/** The streams to a QEMU of ours; each is a socket of that name in the private folder. */
export const STREAMS = ["gdb", "qmp", "com1", "debugcon", "port-e9", "exit"] as const;

/** What hvsh asks of QEMU beside what every backend is asked for. */
export interface QemuOptions extends BackendOptions {
  /** "tcg", which works everywhere and is the default, or "kvm". */
  readonly accelerator?: "tcg" | "kvm";
  /** Whether firmware offers its boot menu. */
  readonly bootMenu?: boolean;
  /** The program; found in PATH if left out. */
  readonly program?: string;
  /** IDE drives, by place: 0 to 3 are hda to hdd; floppy drives, 0 and 1. */
  readonly drives?: readonly QemuDrive[];
  /** Letters of `-boot order=`: c is the first disk, d the CD-ROM drive. */
  readonly bootOrder?: string;
  /** A folder that the run is recorded in: what comes from outside, by instruction counts. */
  readonly record?: string;
  /** A folder with a recording that is run again, to and fro. */
  readonly replay?: string;
  /** Whether there is a VGA. */
  readonly screen?: boolean;
}

/** An IDE drive. */
export interface QemuDrive {
  readonly index: number;
  readonly kind: "disk" | "cdrom" | "floppy";
  /** Its image, sectors one after the other; undefined for an empty drive. */
  readonly path?: string;
  readonly readOnly: boolean;
  /** Whether what is written is thrown away. */
  readonly snapshot: boolean;
}

/**
 * QEMU's processor for a choice such as "host,-avx2". What translates instructions has no host's features: "max" are all
 * that it knows. Whatever is asked for by "+NAME" has to be there (`enforce`).
 */
function cpuModel(choice: string, accelerator: QemuOptions["accelerator"]): string {
  const [model, ...changes] = choice.split(",").map((part) => part.trim());
  if (model !== "host" || changes.some((change) => !/^[+-][\w.-]+$/.test(change))) {
    throw new InputError(`"${choice}" is no choice of a processor's features`, {
      remedy: 'write "host", or "host,-avx2", with "-NAME" or "+NAME" for each feature',
    });
  }
  return [accelerator === "kvm" ? "host" : "max", ...changes, "enforce"].join(",");
}

/** Arguments for a guest whose sockets, firmware and log lie in `folder`. */
export function commandLine(folder: string, options: QemuOptions): string[] {
  const counted = options.record ?? options.replay;
  const sockets = STREAMS.filter((name) => counted === undefined || name !== "com1").flatMap((name) => [
    "-chardev",
    `socket,id=${name},path=${folder}/${name},server=on,wait=off`,
  ]);
  const kib = options.memory / 1024;
  return [
    // Stopped at the reset vector, with nothing but what is named here.
    ...["-S", "-nodefaults", "-no-user-config", "-display", "none", "-name", "hvsh"],
    ...["-machine", "pc,graphics=off", "-accel", options.accelerator ?? "tcg"],
    ...(options.cpu === undefined ? [] : ["-cpu", cpuModel(options.cpu, options.accelerator)]),
    ...["-m", `${kib}K`, "-smp", `cpus=${options.cpus}`, "-bios", `${folder}/firmware`],
    ...[
      "-boot",
      `menu=${options.bootMenu ? "on" : "off"}${options.bootOrder ? `,order=${options.bootOrder}` : ""}`,
    ],
    ...(counted === undefined ? [] : ["-drive", stateDrive(folder)]),
    ...(options.drives ?? []).flatMap((drive) => ["-drive", ideDrive(drive)]),
    ...(options.screen ? ["-device", "VGA"] : []),
    ...sockets,
    ...["-gdb", "chardev:gdb", "-mon", "chardev=qmp,mode=control", "-serial"],
    // What is typed is recorded where QEMU makes the device itself.
    counted === undefined ? "chardev:com1" : `unix:${escaped(`${folder}/com1`)},server=on,wait=off`,
    ...(counted === undefined ? [] : counting(options.record === undefined ? "replay" : "record", counted)),
    ...["-device", "isa-debugcon,iobase=0x402,chardev=debugcon"],
    ...["-device", "isa-debugcon,iobase=0xe9,chardev=port-e9"],
    // QEMU's own debug-exit device ends QEMU, and with it everything that could be looked at.
    ...["-device", "isa-debugcon,iobase=0xf4,chardev=exit"],
    ...["-action", "reboot=shutdown,shutdown=pause"],
    // Tells a triple fault from a reset.
    ...["-d", "cpu_reset", "-D", `${folder}/log`],
  ];
}

/**
 * An instruction is 8 ns of the guest's time. Without vapic, which is for Windows XP on KVM: loading a state has it
 * wait for the vCPU, and that for the replay's lock (QEMU 7.2 hangs).
 */
function counting(mode: string, folder: string): string[] {
  const log = escaped(`${folder}/${LOG}`);
  return ["-icount", `shift=3,rr=${mode},rrfile=${log}`, "-global", "apic-common.vapic=off"];
}

/** The folder does not outlive QEMU: nothing there has to reach the disk. */
function stateDrive(folder: string): string {
  const file = escaped(`${folder}/states`);
  return `file=${file},if=none,id=states,format=qcow2,cache=unsafe,node-name=${STATE_NODE}`;
}

function ideDrive({ index, kind, path, readOnly, snapshot }: QemuDrive): string {
  const medium = path === undefined ? "" : `,file=${escaped(path)},format=raw`;
  const how = `${readOnly || kind === "cdrom" ? ",readonly=on" : ""}${snapshot ? ",snapshot=on" : ""}`;
  if (kind === "floppy") return `if=floppy,index=${index}${medium}${path === undefined ? "" : how}`;
  return `if=ide,index=${index},media=${kind}${medium}${path === undefined ? "" : how}`;
}

/** In QEMU's options a comma ends a value, unless it is doubled. */
function escaped(text: string): string {
  return text.replaceAll(",", ",,");
}

const ROM_BYTES = 64 * 1024;
const HLT = 0xf4;

/** What stands at the reset vector: the firmware asked for, or else HLT all over. */
export function firmwareOf(options: BackendOptions): Uint8Array {
  return options.roms?.[0]?.bytes ?? new Uint8Array(ROM_BYTES).fill(HLT);
}
