/** Disks and CDs with Debian's boot loaders on them, made as an administrator would. */
const GRUB = "/usr/lib/grub/i386-pc";
const ISOLINUX = "/usr/lib/ISOLINUX/isolinux.bin";
const SYSLINUX_MODULES = "/usr/lib/syslinux/modules/bios";
const MKFS = "/usr/sbin/mkfs.fat";
const MCOPY = "/usr/bin/mcopy";
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

/** `text` as SeaBIOS draws a screen on a serial line: a cursor that was moved between characters is moved there too. */
export function drawn(text: string): RegExp {
  // deno-lint-ignore no-control-regex
  const movement = /(?:\r|\x1b\[[\d;]*[A-Za-z])*/.source;
  return new RegExp([...text].map((c) => c.replace(/[^\w ]/, "\\$&")).join(movement));
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

/** Why disks with a file system can't be made here; undefined if they can. */
export function fatDiskMissing(): string | undefined {
  const needed: [string, string][] = [[MKFS, "dosfstools"], [MCOPY, "mtools"]];
  const missing = needed.filter(([path]) => !exists(path)).map(([, name]) => name);
  return missing.length === 0 ? undefined : `no ${missing.join(", ")}: deno task setup`;
}

/** A disk of 34 MiB that is one FAT16 file system without partitions, with files by name. */
export function fatDisk(files: Readonly<Record<string, string | Uint8Array>>): Promise<Uint8Array> {
  return withFolder(async (folder) => {
    const image = `${folder}/fat.img`;
    await Deno.writeFile(image, new Uint8Array(0));
    await Deno.truncate(image, 34 << 20);
    await run(MKFS, ["-F", "16", image]);
    for (const [name, contents] of Object.entries(files)) {
      const file = `${folder}/${name}`;
      await Deno.writeFile(
        file,
        typeof contents === "string" ? new TextEncoder().encode(contents) : contents,
      );
      await run(MCOPY, ["-i", image, file, `::${name}`]);
    }
    return await Deno.readFile(image);
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
