import { gzipSync } from "node:zlib";
import { asLabError, cached, fingerprint, run } from "./cache.ts";
import { type HostKernel, moduleClosure } from "./kernel.ts";

/** What /init needs before it can mount the host's root: virtio over PCI, 9p, overlayfs, and the agent's ports. */
const MODULES = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"];

/** Programs of the lab that stand beside this file and are put into /lab of the initramfs. */
const GUEST_FILES = ["userspace.sh", "agent.ts", "protocol.ts"];

/** The folders of the initramfs, a parent before its children. */
const FOLDERS = ["bin", "dev", "host", "lab", "modules", "new", "proc", "sys", "upper", "work"];

/** Where /init finds what is different for each lab. */
const CONFIG = "lab/config";

export const BUSYBOX = "/bin/busybox";

/** A file of the initramfs: its path without a leading slash, and its bytes; a folder has none. */
export interface Entry {
  path: string;
  data?: Uint8Array;
}

/**
 * The initramfs of `kernel`, made when the cache has none that fits, else taken from there in some milliseconds.
 *
 * @returns The path of a gzip'ed cpio archive.
 * @throws {LabError} If a module, busybox or cpio is missing, or the cache can't be written.
 */
export async function initramfs(kernel: HostKernel, cache: string): Promise<string> {
  const modules = moduleClosure(kernel, MODULES);
  const sources = [
    pathOf("initramfs.ts"),
    BUSYBOX,
    ...["init.sh", ...GUEST_FILES].map(guestFile),
    ...modules,
  ];
  return await cached(cache, "initramfs", fingerprint(sources), async () => {
    const packed = await Promise.all(modules.map(readModule));
    const archive = await pack([
      ...FOLDERS.map((path) => ({ path })),
      { path: "bin/busybox", data: Deno.readFileSync(BUSYBOX) },
      { path: "init", data: Deno.readFileSync(guestFile("init.sh")) },
      ...GUEST_FILES.map((name) => ({ path: `lab/${name}`, data: Deno.readFileSync(guestFile(name)) })),
      // Numbered, since /init loads them in the order of their names.
      ...packed.map((data, n) => ({ path: `modules/${String(n).padStart(2, "0")}.ko`, data })),
    ]);
    return gzipSync(archive, { level: 1 });
  });
}

/**
 * The initramfs with some files more in /lab/config, one text each: what is different for each lab. Linux unpacks
 * archives that follow one another (Documentation/driver-api/early-userspace/buffer-format.rst).
 */
export async function withConfig(archive: string, config: Record<string, string>): Promise<Uint8Array> {
  const entries = Object.entries(config).map(([name, text]) => ({
    path: `${CONFIG}/${name}`,
    data: new TextEncoder().encode(text),
  }));
  const folders = [{ path: "lab" }, { path: CONFIG }];
  const [first, second] = [Deno.readFileSync(archive), gzipSync(await pack([...folders, ...entries]))];
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** cpio's "newc" archive of the entries, all owned by root and executable: the kernel's init/initramfs.c reads it. */
export async function pack(entries: readonly Entry[]): Promise<Uint8Array<ArrayBuffer>> {
  let stage = "";
  try {
    stage = Deno.makeTempDirSync({ prefix: "hvsh-initramfs-" });
    for (const { path, data } of entries) {
      if (data === undefined) Deno.mkdirSync(`${stage}/${path}`, { mode: 0o755 });
      else Deno.writeFileSync(`${stage}/${path}`, data, { mode: 0o755 });
    }
    const names = new TextEncoder().encode(entries.map((entry) => `${entry.path}\n`).join(""));
    return await run(
      "cpio",
      ["--quiet", "-o", "-H", "newc", "--reproducible", "-R", "0:0", "-D", stage],
      names,
    );
  } catch (error) {
    throw asLabError(error, "pack the lab's initramfs");
  } finally {
    if (stage !== "") Deno.removeSync(stage, { recursive: true });
  }
}

/** busybox's insmod takes no packed modules, so they are unpacked here. */
export async function readModule(path: string): Promise<Uint8Array> {
  const data = Deno.readFileSync(path);
  if (path.endsWith(".xz")) return await run("xz", ["-dc"], data);
  if (path.endsWith(".zst")) return await run("zstd", ["-dc"], data);
  return data;
}

function guestFile(name: string): string {
  return pathOf(`guest/${name}`);
}

function pathOf(name: string): string {
  return decodeURIComponent(new URL(name, import.meta.url).pathname);
}
