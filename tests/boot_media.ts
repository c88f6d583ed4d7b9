/** Disks and CDs with Debian's boot loaders on them, made as an administrator would. */
const GRUB = "/usr/lib/grub/i386-pc";
const ISOLINUX = "/usr/lib/ISOLINUX/isolinux.bin";
const SYSLINUX_MODULES = "/usr/lib/syslinux/modules/bios";
const SECTOR = 512;

/** Why boot media can't be made here; undefined if they can. */
export function bootMediaMissing(): string | undefined {
  const needed: [string, string][] = [
    [`${GRUB}/boot.img`, "grub-pc-bin"],
    ["/usr/bin/grub-mkimage", "grub-common"],
    [ISOLINUX, "isolinux"],
    [`${SYSLINUX_MODULES}/ldlinux.c32`, "syslinux-common"],
    ["/usr/bin/xorriso", "xorriso"],
  ];
  const missing = needed.filter(([path]) => !exists(path)).map(([, name]) => name);
  return missing.length === 0 ? undefined : `no ${missing.join(", ")}: deno task setup`;
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function run(program: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null", stderr: "piped" })
    .output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
}

async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "boot-media-" });
  try {
    return await use(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A disk of 4 MiB with GRUB in the sectors behind its boot record; it comes to its own prompt. */
export function grubDisk(): Promise<Uint8Array> {
  return withFolder(async (folder) => {
    const core = `${folder}/core.img`;
    await Deno.writeTextFile(`${folder}/early.cfg`, "normal\n");
    const modules = ["biosdisk", "part_msdos", "normal", "echo", "ls"];
    const options = ["-O", "i386-pc", "-d", GRUB, "-p", "/none", "-c", `${folder}/early.cfg`, "-o", core];
    await run("/usr/bin/grub-mkimage", [...options, ...modules]);
    const disk = new Uint8Array(4 << 20);
    disk.set(await Deno.readFile(`${GRUB}/boot.img`));
    disk.set(await Deno.readFile(core), SECTOR);
    return disk;
  });
}

/** A CD with isolinux; it comes to its prompt, and says `greeting` first. */
export function isolinuxCd(greeting: string): Promise<Uint8Array> {
  return withFolder(async (folder) => {
    const root = `${folder}/root`;
    await Deno.mkdir(`${root}/isolinux`, { recursive: true });
    await Deno.copyFile(ISOLINUX, `${root}/isolinux/isolinux.bin`);
    await Deno.copyFile(`${SYSLINUX_MODULES}/ldlinux.c32`, `${root}/isolinux/ldlinux.c32`);
    const config = `PROMPT 1\nTIMEOUT 0\nDEFAULT local\nSAY ${greeting}\nLABEL local\n  LOCALBOOT -1\n`;
    await Deno.writeTextFile(`${root}/isolinux/isolinux.cfg`, config);
    const boot = ["-b", "isolinux/isolinux.bin", "-c", "isolinux/boot.cat", "-no-emul-boot"];
    const load = ["-boot-load-size", "4", "-boot-info-table"];
    const image = `${folder}/cd.iso`;
    await run("/usr/bin/xorriso", ["-as", "mkisofs", "-quiet", "-o", image, ...boot, ...load, root]);
    return await Deno.readFile(image);
  });
}
