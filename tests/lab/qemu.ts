import { CHANNELS } from "./guest/protocol.ts";

/** The two hypervisors a lab can have. */
export type LabKind = "kvm" | "xen";

/** What a lab is given by its user. */
export interface LabOptions {
  /** MiB of memory of the whole machine. */
  memory: number;
  /** Virtual CPUs of the machine. */
  cpus: number;
  /** Folders of the host that are writable inside, absolute. */
  shares: string[];
}

/** The machine each kind of lab gets when nothing else is said. Of Xen's, dom0 gets half
 * and its guests the rest. */
export const DEFAULT_MACHINE: Record<LabKind, { memory: number; cpus: number }> = {
  kvm: { memory: 4096, cpus: 2 },
  xen: { memory: 4096, cpus: 2 },
};

/** Files in the lab's folder, which is QEMU's working folder: so no name of the user's gets into a place where QEMU
 * parses blanks or commas, and no socket's path is too long. */
export const FILES = {
  kernel: "linux",
  xen: "xen.elf",
  initramfs: "initramfs.gz",
  console: "console.log",
  pid: "qemu.pid",
} as const;

/**
 * The processor. QEMU 7.2's TCG emulates AMD SVM with nested paging; docs/labs.md tells each flag's reason.
 */
const CPU: Record<LabKind, string> = {
  // smap, smep: IRET under TCG reads the stack as supervisor, and a kernel's first iret dies with SMAP on.
  kvm: "EPYC,+svm,+npt,-smap,-smep",
  // monitor: Xen idles with MWAIT, which TCG answers with #GP. rdtscp: without NRIP save Xen can't tell its length.
  xen: "EPYC,+svm,+npt,-smap,-smep,-monitor,-rdtscp",
};

/** Xen's own command line; without eager-fpu vector registers leak between vCPUs under TCG (docs/labs.md). */
const XEN_OPTIONS = [
  "console=com1",
  "com1=115200",
  "loglvl=warning",
  "guest_loglvl=all",
  "smap=0",
  "smep=0",
  "cpuidle=0",
  "mwait-idle=0",
];

/** The option that {@linkcode "./xen_check.ts"} looks for; a test leaves it out to see the check fail. */
export const EAGER_FPU = "spec-ctrl=eager-fpu";

/**
 * Linux's command line: panic=-1 reboots at once, which -no-reboot turns into QEMU's end. tsc=reliable: on busy cores
 * Linux takes TCG's TSC for unstable and falls back to the HPET, whose every read waits for QEMU's main loop.
 * mitigations=off: detours for real processors' faults that TCG does not have.
 */
const LINUX_OPTIONS = "quiet panic=-1 tsc=reliable mitigations=off";

/** The arguments of qemu-system-x86_64, to be started in the lab's folder. */
export function qemuArguments(
  kind: LabKind,
  options: LabOptions,
  work: string,
  xenExtra: string = EAGER_FPU,
): string[] {
  const virtfs = (tag: string, path: string, how: string) => [
    "-virtfs",
    // QEMU reads ",," in a value as one comma.
    `local,path=${path.replaceAll(",", ",,")},mount_tag=${tag},security_model=none,multidevs=remap${how}`,
  ];
  const boot = kind === "kvm"
    ? ["-kernel", FILES.kernel, "-append", `console=ttyS0 ${LINUX_OPTIONS}`, "-initrd", FILES.initramfs]
    : [
      "-kernel",
      FILES.xen,
      "-append",
      [...XEN_OPTIONS, `dom0_mem=${Math.floor(options.memory / 2)}M`, xenExtra].join(" "),
      "-initrd",
      `${FILES.kernel} console=hvc0 ${LINUX_OPTIONS},${FILES.initramfs}`,
    ];
  return [
    ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"],
    ...["-accel", "tcg,thread=multi,tb-size=1024", "-cpu", CPU[kind]],
    ...["-smp", `${options.cpus}`, "-m", `${options.memory}M`, "-pidfile", FILES.pid],
    ...["-chardev", `file,id=console,path=${FILES.console}`, "-serial", "chardev:console"],
    ...boot,
    ...virtfs("host", "/", ",readonly=on"),
    ...virtfs("work", work, ",readonly=on"),
    ...options.shares.flatMap((path, n) => virtfs(`share${n}`, path, "")),
    ...["-device", "virtio-serial-pci"],
    ...Array.from({ length: CHANNELS }, (_, n) => [`in${n}`, `out${n}`]).flat().flatMap((name) => [
      ...["-chardev", `socket,id=${name},path=${name},server=on,wait=off`],
      ...["-device", `virtserialport,chardev=${name},name=${name}`],
    ]),
  ];
}
