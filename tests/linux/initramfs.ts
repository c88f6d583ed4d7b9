/** An initramfs for a guest with Debian's kernel: busybox, the modules named, and a script of the test's. */
import { gzipSync } from "node:zlib";
import { BUSYBOX, pack, readModule } from "../lab/initramfs.ts";
import { type HostKernel, moduleClosure } from "../lab/kernel.ts";

/** Mounts what every script wants and loads the modules; the script follows. */
const PROLOGUE = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod $module || echo "MISSING $module"; done
`;

/**
 * @param script Lines for busybox's shell, run as process 1: they end with `poweroff -f`.
 * @param files Programs and other files, by path.
 * @returns A gzip'ed cpio archive.
 */
export async function guestInitramfs(
  kernel: HostKernel,
  modules: readonly string[],
  script: string,
  files: Readonly<Record<string, Uint8Array>> = {},
): Promise<Uint8Array> {
  const packed = await Promise.all(moduleClosure(kernel, modules).map(readModule));
  const archive = await pack([
    ...["bin", "dev", "mnt", "modules", "proc", "sys"].map((path) => ({ path })),
    { path: "bin/busybox", data: Deno.readFileSync(BUSYBOX) },
    { path: "init", data: new TextEncoder().encode(PROLOGUE + script) },
    ...Object.entries(files).map(([path, data]) => ({ path, data })),
    // Numbered, since they are loaded in the order of their names.
    ...packed.map((data, n) => ({ path: `modules/${String(n).padStart(2, "0")}.ko`, data })),
  ]);
  return gzipSync(archive, { level: 1 });
}
