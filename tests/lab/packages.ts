/** What the project's tests and labs take from Debian, and what each thing is for. */

/** What goes without when a package is missing. */
export type Purpose = "kvm lab" | "xen lab" | "tests";

/** A Debian package. */
export interface Package {
  name: string;
  purposes: Purpose[];
  /** What is skipped without it, when it is for tests. */
  skips?: string;
  /** Installing it changes what a machine with GRUB boots next. */
  boots?: boolean;
}

const LABS: Purpose[] = ["kvm lab", "xen lab"];
const XEN: Purpose[] = ["xen lab"];
const TESTS: Purpose[] = ["tests"];

/** Every package; none is needed to run hvsh itself. */
export const PACKAGES: readonly Package[] = [
  { name: "qemu-system-x86", purposes: LABS },
  { name: "linux-image-amd64", purposes: [...LABS, "tests"], skips: "tests that boot a Linux guest" },
  { name: "busybox-static", purposes: [...LABS, "tests"], skips: "tests that boot a Linux guest" },
  { name: "cpio", purposes: [...LABS, "tests"], skips: "tests that boot a Linux guest" },
  { name: "xz-utils", purposes: LABS },
  { name: "xen-hypervisor-4.17-amd64", purposes: XEN, boots: true },
  { name: "xen-utils-4.17", purposes: XEN },
  { name: "qemu-system-xen", purposes: XEN },
  { name: "gcc", purposes: [...XEN, "tests"], skips: "comparing struct layouts with the C headers" },
  { name: "libc6-dev", purposes: [...XEN, "tests"], skips: "comparing struct layouts with the C headers" },
  { name: "libxen-dev", purposes: TESTS, skips: "comparing Xen's struct layouts with its headers" },
  { name: "acpica-tools", purposes: TESTS, skips: "reading ACPI tables with ACPI's own compiler" },
  { name: "libslirp0", purposes: TESTS, skips: "networks without privileges" },
  { name: "libslirp-dev", purposes: TESTS, skips: "comparing libslirp's structure with its header" },
  { name: "seabios", purposes: TESTS, skips: "booting firmware" },
  { name: "grub-common", purposes: TESTS, skips: "booting GRUB from a disk" },
  { name: "grub-pc-bin", purposes: TESTS, skips: "booting GRUB from a disk" },
  { name: "isolinux", purposes: TESTS, skips: "booting isolinux from a CD" },
  { name: "syslinux-common", purposes: TESTS, skips: "booting isolinux from a CD" },
  { name: "xorriso", purposes: TESTS, skips: "booting isolinux from a CD" },
  { name: "memtest86+", purposes: TESTS, skips: "booting memtest86+" },
  { name: "ipxe", purposes: TESTS, skips: "booting iPXE" },
  { name: "ovmf", purposes: TESTS, skips: "booting OVMF" },
  { name: "dosfstools", purposes: TESTS, skips: "booting OVMF" },
  { name: "mtools", purposes: TESTS, skips: "booting OVMF" },
  { name: "gdb", purposes: TESTS, skips: "driving the GDB server with gdb" },
  { name: "lldb", purposes: TESTS, skips: "driving the GDB server with lldb" },
  { name: "fio", purposes: TESTS, skips: "measuring a guest's disks" },
  { name: "iperf3", purposes: TESTS, skips: "measuring a guest's network" },
  { name: "tmux", purposes: TESTS, skips: "the shell on a real terminal" },
];

/** The packages of the table that dpkg does not have installed; one call of dpkg-query. All, where there is no dpkg. */
export function missingPackages(packages: readonly Package[] = PACKAGES): Package[] {
  const installed = new Set<string>();
  try {
    const { stdout } = new Deno.Command("dpkg-query", {
      args: ["-W", "-f", "${db:Status-Status} ${Package}\n", ...packages.map(({ name }) => name)],
      stderr: "null", // it complains of names it never heard of
    }).outputSync();
    for (const line of new TextDecoder().decode(stdout).split("\n")) {
      const [status, name] = line.split(" ");
      if (status === "installed") installed.add(name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return packages.filter(({ name }) => !installed.has(name));
}

/** The names of missing packages that a purpose needs. */
export function missingFor(purpose: Purpose, missing = missingPackages()): string[] {
  return missing.filter(({ purposes }) => purposes.includes(purpose)).map(({ name }) => name);
}

/** One line per thing that will be skipped, for a person. */
export function skipReport(missing: readonly Package[]): string[] {
  const lines = new Map<string, string[]>();
  for (const { name, purposes, skips } of missing) {
    const things = purposes.map((purpose) => purpose === "tests" ? skips ?? "tests" : `the ${purpose}`);
    for (const thing of things) lines.set(thing, [...(lines.get(thing) ?? []), name]);
  }
  return [...lines].map(([thing, names]) => `skipped: ${thing} (missing: ${names.join(", ")})`);
}
