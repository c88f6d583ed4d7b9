/** One kernel's run on every hypervisor that is to be had, here and in the labs: the traces are equal. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { compareFiles, hosts } from "../mod.ts";
import { sharedLab } from "./lab/shared.ts";

const ROOT = new URL("..", import.meta.url).pathname;
const SCRIPT = "scripts/three_ways.ts";
const folder = Deno.makeTempDirSync();
addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** Runs the script here; gives the trace's path. */
async function traced(backend: string, ...more: string[]): Promise<string> {
  const path = `${folder}/${[backend, ...more].join("-")}`;
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", "--no-check", SCRIPT, backend, path, ...more],
    cwd: ROOT,
  }).output();
  const said = new TextDecoder().decode(stdout);
  assert.equal(code, 0, said + new TextDecoder().decode(stderr));
  assert.match(said, /at body by step\n400 instructions in /);
  return path;
}

/** The interpreter is what all others are compared with. */
let made: Promise<string> | undefined;
const reference = () => made ??= traced("fake");

Deno.test("three ways: a planted difference is found where it first shows", async () => {
  const { same, difference } = await compareFiles(await reference(), await traced("fake", "planted"));
  assert.deepEqual([same, difference?.text, difference?.in.map(({ what }) => what)], [1, "add rbx, 2", [
    "code",
  ]]);
});

for (const backend of ["kvm", "qemu"] as const) {
  const host = (await hosts()).find((host) => host.backend === backend);
  if (!host?.usable) console.log(`skipped, as ${host?.reason}: three ways on ${backend}`);
  Deno.test({
    name: `three ways: ${backend} runs what the interpreter does`,
    ignore: !host?.usable,
    fn: async () =>
      assert.deepEqual(await compareFiles(await reference(), await traced(backend)), { same: 400 }),
  });
}

for (
  const [kind, backend] of [["kvm", "kvm"], ["xen", "xen-pvh"], ["xen", "xen-pv"], [
    "xen",
    "xen-hvm",
  ]] as const
) {
  const lab = sharedLab(kind);
  Deno.test({
    name: `three ways: ${backend} in the ${kind} lab runs what the interpreter does`,
    ignore: lab.ignore,
    fn: async () => {
      const file = `/tmp/three-ways-${backend}`;
      const command = `deno run --quiet -A --no-check ${SCRIPT} ${backend} ${file} >&2 && cat ${file}`;
      const { stdout, stderr, code } = await (await lab.get()).output(["sh", "-c", command], {
        cwd: ROOT,
        timeoutMs: 600_000,
      });
      assert.equal(code, 0, stderr);
      const path = `${folder}/${kind}-${backend}`;
      await Deno.writeTextFile(path, stdout);
      assert.deepEqual(await compareFiles(await reference(), path), { same: 400 });
    },
  });
}
