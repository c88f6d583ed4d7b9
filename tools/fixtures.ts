/**
 * Builds guest code: each fixtures/NAME.s becomes NAME.bin, with `as` and `ld` of Debian's binutils, together with
 * NAME.c, where there is one, by `cc`. The arguments stand in NAME.s, in lines that start with `# as:`, `# cc:` and
 * `# ld:`.
 *
 * Run it with `deno task fixtures`.
 */
const FOLDER = new URL("../fixtures/", import.meta.url);

/** Names of all fixtures, without suffix. */
export async function fixtureNames(): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(FOLDER)) if (name.endsWith(".s")) names.push(name.slice(0, -2));
  return names.sort();
}

/** The compiler that the committed bytes are of: another one's are as good, but not the same. */
const COMPILER = /^cc \(Debian 12\.2\.0-\d+(?:\+deb12u\d+)?\) 12\.2\.0$/;

/** Whether `as` and `ld` can be started, and for a fixture with C code the `cc` that the bytes are of. */
export async function canBuild(name?: string): Promise<boolean> {
  try {
    if (name !== undefined && await hasC(name)) {
      const { stdout } = await new Deno.Command("cc", { args: ["--version"] }).output();
      if (!COMPILER.test(new TextDecoder().decode(stdout).split("\n")[0])) return false;
    }
    for (const program of ["as", "ld"]) {
      const { success } = await new Deno.Command(program, { args: ["--version"], stdout: "null" }).output();
      if (!success) return false;
    }
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Assembles and links `name`, and gives the file's bytes; writes nothing into the folder. */
export async function buildFixture(name: string): Promise<Uint8Array<ArrayBuffer>> {
  const source = await Deno.readTextFile(new URL(`${name}.s`, FOLDER));
  const scratch = await Deno.makeTempDir({ prefix: "fixture-" });
  try {
    // No path of the machine that builds it may stand in debug information.
    const map = `--debug-prefix-map=${FOLDER.pathname.replace(/\/$/, "")}=.`;
    const objects = [`${scratch}/a.o`];
    await tool("as", [...options(source, "as"), map, "-o", objects[0], `${name}.s`]);
    if (await hasC(name)) {
      objects.push(`${scratch}/c.o`);
      await tool("cc", [
        ...options(source, "cc"),
        map.replace("--", "-f"),
        "-o",
        objects[1],
        `${name}.c`,
      ]);
    }
    await tool("ld", [...options(source, "ld"), "-o", `${scratch}/a.bin`, ...objects]);
    return await Deno.readFile(`${scratch}/a.bin`);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

function hasC(name: string): Promise<boolean> {
  return Deno.stat(new URL(`${name}.c`, FOLDER)).then(() => true, () => false);
}

/** The path of a built fixture. */
export function fixturePath(name: string): URL {
  return new URL(`${name}.bin`, FOLDER);
}

function options(source: string, program: string): string[] {
  const line = new RegExp(`^# ${program}: (.*)$`, "m").exec(source);
  if (line === null) throw new Error(`The source has no line "# ${program}: ..."`);
  return line[1].split(" ");
}

async function tool(program: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, cwd: FOLDER, stderr: "piped" })
    .output();
  if (!success) throw new Error(`${program} ${args.join(" ")} failed:\n${new TextDecoder().decode(stderr)}`);
}

if (import.meta.main) {
  for (const name of await fixtureNames()) {
    const bytes = await buildFixture(name);
    await Deno.writeFile(fixturePath(name), bytes);
    console.log(`${name}.bin: ${bytes.length} bytes`);
  }
}
