/**
 * `deno task gdb-testsuite`: gdb's own test-suite (Debian's gdb-source and dejagnu) against hvsh's GDB server and
 * against QEMU's stub, on the tests of gdb.base that make sense on bare metal.
 *
 *     deno task gdb-testsuite [--only NAME[,NAME]] [BACKEND]
 */
const HERE = new URL("../tests/dejagnu/", import.meta.url).pathname;
const SOURCE = "/usr/src/gdb.tar.xz";
const CC =
  "-O1 -c -ffreestanding -fno-builtin -fno-pic -mno-red-zone -mgeneral-regs-only -fcf-protection=none -fno-stack-protector";

/** What came of one test file. */
interface Outcome {
  readonly pass: number;
  readonly fail: number;
  readonly other: number;
}

async function main(args: string[]): Promise<number> {
  const only = args.indexOf("--only");
  const chosen = only < 0 ? undefined : args.splice(only, 2)[1]?.split(",");
  const [backend = await exists("/dev/kvm") ? "kvm" : "fake"] = args;
  if (!await exists(SOURCE)) {
    console.error("gdb's test-suite is not here: apt-get install gdb-source dejagnu");
    return 1;
  }
  const names = (await Deno.readTextFile(`${HERE}tests.txt`)).split("\n")
    .filter((line) => line !== "" && !line.startsWith("#") && (chosen?.includes(line) ?? true));
  const folder = await Deno.makeTempDir({ prefix: "hvsh-gdb-testsuite-" });
  try {
    await run("tar", ["xf", SOURCE, "-C", folder, "--wildcards", "*/gdb/testsuite"]);
    const objects = [`${folder}/start.o`, `${folder}/libc.o`];
    await run("as", ["--64", "-mx86-used-note=no", "-o", objects[0], `${HERE}start.s`]);
    await run("cc", [...CC.split(" "), "-o", objects[1], `${HERE}libc.c`]);
    const ours = await suite(folder, `hvsh ${backend}`, names, objects);
    const theirs = await suite(folder, `qemu ${backend === "kvm" ? "kvm" : "tcg"}`, names, objects);
    console.log(`\n| test | hvsh (${backend}): pass, fail | QEMU's stub: pass, fail |\n| --- | --- | --- |`);
    let worse = 0;
    for (const name of [...names, "total"]) {
      const [a, b] = [ours, theirs].map((all) => name === "total" ? sum([...all.values()]) : all.get(name));
      if (a === undefined || b === undefined) continue;
      if (a.fail > b.fail || a.pass < b.pass) worse++;
      console.log(`| ${name} | ${shown(a)} | ${shown(b)} |`);
    }
    return worse === 0 ? 0 : 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs the tests against one stub, each on its own; gives what came of each. */
async function suite(
  folder: string,
  stub: string,
  names: readonly string[],
  objects: readonly string[],
): Promise<Map<string, Outcome>> {
  const results = new Map<string, Outcome>();
  const work = `${folder}/${stub.replaceAll(" ", "-")}`;
  await Deno.mkdir(work);
  await Deno.writeTextFile(
    `${work}/site.exp`,
    [
      `set tool gdb`,
      `set srcdir ${folder}/gdb/gdb/testsuite`,
      `set objdir ${work}`,
      ...["host", "build", "target"].map((which) => `set ${which}_triplet x86_64-pc-linux-gnu`),
      `set GDB gdb`,
      `set GDBFLAGS "-nx"`,
      `lappend boards_dir ${HERE}boards`,
    ].join("\n") + "\n",
  );
  for (const name of names) {
    const outputs = `${work}/outputs/gdb.base/${name}`;
    await Deno.mkdir(outputs, { recursive: true });
    const command = new Deno.Command("runtest", {
      args: ["--tool", "gdb", "--target_board", "hvsh", `gdb.base/${name}.exp`],
      cwd: work,
      env: {
        HVSH_STUB: `${Deno.execPath()} run -q -A --no-check ${HERE}stub.ts ${stub}`,
        HVSH_OBJECTS: objects.join(" "),
        DEBUGINFOD_URLS: "",
      },
      stdout: "null",
      stderr: "null",
      signal: AbortSignal.timeout(10 * 60_000),
    });
    await command.output();
    const text = await Deno.readTextFile(`${work}/gdb.sum`).catch(() => "");
    const count = (word: RegExp) => text.match(word)?.length ?? 0;
    const outcome = {
      pass: count(/^PASS: /gm),
      fail: count(/^FAIL: /gm),
      other: count(/^(UNTESTED|UNSUPPORTED|UNRESOLVED|ERROR|KFAIL|XFAIL)/gm),
    };
    results.set(name, outcome);
    console.log(`${stub}: ${name}: ${shown(outcome)}`);
    for (const [line] of text.matchAll(/^(FAIL|UNRESOLVED|ERROR): .*/gm)) console.log(`    ${line}`);
  }
  return results;
}

function shown({ pass, fail, other }: Outcome): string {
  return `${pass}, ${fail}${other === 0 ? "" : ` (${other} not run)`}`;
}

function sum(all: readonly Outcome[]): Outcome {
  const add = (key: keyof Outcome) => all.reduce((total, one) => total + one[key], 0);
  return { pass: add("pass"), fail: add("fail"), other: add("other") };
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function run(program: string, args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdout: "null" }).output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
}

Deno.exit(await main(Deno.args));
