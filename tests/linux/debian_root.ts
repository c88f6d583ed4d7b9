/** A root file system of Debian's packages, as they are installed here. */

/** bash, and what a person at a shell would miss first; with the libraries that they want. */
const PACKAGES = ["bash", "coreutils", "mount", "util-linux", "grep"];
/** What no program needs to run. */
const LEFT_OUT = /^\/usr\/share\/|^\/usr\/lib\/x86_64-linux-gnu\/gconv\/|^\/etc\/|^\/var\//;
/** Folders that are links into /usr, since Debian 12. */
const MERGED = ["bin", "sbin", "lib", "lib64"];

/**
 * Makes an ext4 image with the files of the packages, those they depend on, and `files` beside them.
 *
 * @param files Contents by path; each may be executed.
 * @param megabytes Size of the image.
 * @param more Packages beside those that a shell wants.
 * @returns The image's path, in a folder of its own, which is the caller's to remove.
 */
export async function debianRoot(
  files: Readonly<Record<string, string>>,
  megabytes: number,
  more: readonly string[] = [],
): Promise<string> {
  const folder = await Deno.makeTempDir();
  const root = `${folder}/root`;
  for (const path of [...MERGED.map((name) => `usr/${name}`), "dev", "etc", "mnt", "proc", "sys", "tmp"]) {
    await Deno.mkdir(`${root}/${path}`, { recursive: true });
  }
  for (const name of MERGED) await Deno.symlink(`usr/${name}`, `${root}/${name}`);
  const installed = (await run("dpkg-query", "-L", ...await withDependencies([...PACKAGES, ...more]))).split(
    "\n",
  )
    .filter((path) => path.startsWith("/") && !LEFT_OUT.test(path) && isFile(path));
  await Deno.writeTextFile(`${folder}/list`, [...new Set(installed)].join("\n"));
  await run("tar", "-C", "/", "-cf", `${folder}/root.tar`, "-P", "--files-from", `${folder}/list`);
  await run("tar", "-C", root, "-xf", `${folder}/root.tar`, "--keep-directory-symlink");
  for (const [path, text] of Object.entries(files)) {
    await Deno.writeTextFile(`${root}/${path}`, text, { mode: 0o755 });
  }
  const image = `${folder}/root.img`;
  await run("truncate", "-s", `${megabytes}M`, image);
  await run("mkfs.ext4", "-q", "-d", root, image);
  await Deno.remove(`${folder}/root.tar`);
  return image;
}

/** Runs a command and gives what it prints. */
export async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) throw new Error(`${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** The packages and all that they depend on, of those that are installed. */
async function withDependencies(packages: readonly string[]): Promise<string[]> {
  const format = "${Package} ${Pre-Depends}, ${Depends}\\n";
  const needs = new Map<string, string[]>();
  for (const line of (await run("dpkg-query", "-W", "-f", format)).split("\n")) {
    const [name, rest] = line.split(/ (.*)/);
    needs.set(name, (rest ?? "").split(/[,|]/).map((each) => each.trim().split(/[ :]/)[0]).filter(Boolean));
  }
  const all = new Set<string>();
  const add = (name: string) => {
    if (all.has(name) || !needs.has(name)) return;
    all.add(name);
    needs.get(name)!.forEach(add);
  };
  packages.forEach(add);
  // Scripts of packages want these, programs do not.
  for (const name of ["perl-base", "dpkg", "debconf", "python3", "adduser"]) all.delete(name);
  return [...all];
}

function isFile(path: string): boolean {
  try {
    return !Deno.lstatSync(path).isDirectory;
  } catch {
    return false; // dpkg lists what was left out when it was installed
  }
}
