import { LabError } from "./errors.ts";

/** A Linux kernel on the host together with the folder of its modules. */
export interface HostKernel {
  /** `6.1.0-56-amd64`. */
  version: string;
  /** The bzImage. */
  image: string;
  /** `/lib/modules/VERSION`. */
  modules: string;
}

/** Where kernels and their modules are looked for; tests give other folders. */
export interface KernelFolders {
  boot: string;
  modules: string;
}

const DEBIAN: KernelFolders = { boot: "/boot", modules: "/lib/modules" };

const REMEDY = "Install Debian's ordinary kernel: deno task setup (package linux-image-amd64).";

/**
 * The newest ordinary Debian kernel on this machine. The cloud kernel (`-cloud-amd64`) is passed over: it has neither
 * dom0 support nor 9p.
 *
 * @throws {LabError} If there is no kernel, or the newest has no modules.
 */
export function findKernel(folders: KernelFolders = DEBIAN): HostKernel {
  const versions = entries(folders.boot)
    .map((name) => /^vmlinuz-(.*-amd64)$/.exec(name)?.[1])
    .filter((version): version is string => version !== undefined && !version.includes("cloud"))
    .sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
  const version = versions[0];
  if (version === undefined) {
    throw new LabError(`No kernel image vmlinuz-*-amd64 in ${folders.boot}.`, { remedy: REMEDY });
  }
  const kernel = {
    version,
    image: `${folders.boot}/vmlinuz-${version}`,
    modules: `${folders.modules}/${version}`,
  };
  if (!entries(kernel.modules).includes("modules.dep")) {
    throw new LabError(`The kernel image ${kernel.image} has no modules in ${kernel.modules}.`, {
      remedy: REMEDY,
    });
  }
  return kernel;
}

/**
 * The module files to load, in order, so that every one of `wanted` is there: depmod(8)'s `modules.dep` names each
 * module's needs with the farthest last. Modules that are built into the kernel are left out.
 *
 * @throws {LabError} If the kernel has a module neither as a file nor built in.
 */
export function moduleClosure(kernel: HostKernel, wanted: readonly string[]): string[] {
  const needs = new Map<string, string[]>();
  for (const line of lines(`${kernel.modules}/modules.dep`)) {
    const [file, rest] = line.split(":");
    needs.set(moduleName(file), [file, ...(rest ?? "").trim().split(/\s+/).filter(Boolean)]);
  }
  const builtin = new Set(lines(`${kernel.modules}/modules.builtin`).map(moduleName));
  const order: string[] = [];
  for (const name of wanted) {
    const files = needs.get(name);
    if (files === undefined) {
      if (builtin.has(name)) continue;
      throw new LabError(`The kernel ${kernel.version} has no module ${name} in ${kernel.modules}.`, {
        remedy: REMEDY,
      });
    }
    for (const file of files.toReversed()) if (!order.includes(file)) order.push(file);
  }
  return order.map((file) => `${kernel.modules}/${file}`);
}

/** The Xen hypervisor on the host. */
export interface HostXen {
  /** `4.17`. */
  version: string;
  /** The image, packed with gzip. */
  image: string;
  /** The folder of its tools: xenstored, xen-init-dom0, ... */
  tools: string;
}

/**
 * The newest Xen on this machine whose tools are there too.
 *
 * @throws {LabError} If there is none.
 */
export function findXen(boot = DEBIAN.boot): HostXen {
  const versions = entries(boot)
    .map((name) => /^xen-([\d.]+)-amd64\.gz$/.exec(name)?.[1])
    .filter((version) =>
      version !== undefined && entries(`/usr/lib/xen-${version}/bin`).includes("xenstored")
    )
    .sort((a, b) => b!.localeCompare(a!, "en", { numeric: true }));
  const version = versions[0];
  if (version === undefined) {
    throw new LabError(`No Xen with its tools: ${boot}/xen-VERSION-amd64.gz and /usr/lib/xen-VERSION/bin.`, {
      remedy: "Install it: deno task setup (packages xen-hypervisor-4.17-amd64 and xen-utils-4.17).",
    });
  }
  return { version, image: `${boot}/xen-${version}-amd64.gz`, tools: `/usr/lib/xen-${version}/bin` };
}

/** `kernel/fs/9p/9p.ko.xz` is module `9p`; modprobe takes `-` and `_` as the same. */
function moduleName(file: string): string {
  return file.slice(file.lastIndexOf("/") + 1).replace(/\.ko(\.\w+)?$/, "").replaceAll("-", "_");
}

function entries(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].map((entry) => entry.name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function lines(file: string): string[] {
  try {
    return Deno.readTextFileSync(file).split("\n").filter(Boolean);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}
