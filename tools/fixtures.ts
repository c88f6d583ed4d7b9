/**
 * Builds guest code: each fixtures/NAME.s becomes NAME.bin, with `as` and `ld` of Debian's binutils. The
 * arguments stand in the source, in lines that start with `# as:` and `# ld:`.
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

/** Whether `as` and `ld` can be started. */
export async function canBuild(): Promise<boolean> {
  try {
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
    await tool("as", [...options(source, "as"), "-o", `${scratch}/a.o`, `${name}.s`]);
    await tool("ld", [...options(source, "ld"), "-o", `${scratch}/a.bin`, `${scratch}/a.o`]);
    return await Deno.readFile(`${scratch}/a.bin`);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
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
