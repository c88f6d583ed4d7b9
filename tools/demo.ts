/**
 * `deno task demo`: a real session, typed by itself. SeaBIOS on /dev/kvm where there is KVM and the package `seabios`
 * (which is installed where that is possible), else a small kernel, on KVM or in the interpreter.
 */
import { hosts } from "../mod.ts";

const ROOT = new URL("../", import.meta.url);
const BIOS = "/usr/share/seabios/bios.bin";

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then((status) => status.isFile, () => false);
}

async function deno(...args: string[]): Promise<number> {
  const { code } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT }).spawn().status;
  return code;
}

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) {
  console.log(`demo: KVM can't be used here: ${kvm?.reason}`);
  console.log(`  ${kvm?.remedy}`);
  console.log("  So the built-in interpreter runs a small kernel instead.\n");
} else if (!await exists(BIOS)) {
  console.log("demo: Debian's seabios is not there yet.");
  await deno("run", "-q", "-A", "--no-check", "tools/setup.ts", "seabios");
  if (!await exists(BIOS)) console.log("demo: without seabios, the session shows a small kernel.");
  console.log("");
}

const firmware = kvm?.usable && await exists(BIOS);
const guest = firmware ? ["-m", "64", "-bios", BIOS] : ["-m", "64", "-kernel", "fixtures/elf64.bin"];
const backend = kvm?.usable ? "kvm" : "fake";
const script = firmware ? "scripts/demo.hvsh" : "scripts/demo_fixture.hvsh";
const shell = ["run", "-q", "-A", "--no-check", "--unstable-lazy-dynamic-imports", "src/repl/main.ts"];
console.log(`$ hvsh --backend ${backend} ${guest.join(" ")} -x ${script}`);
const code = await deno(...shell, "-q", "--norc", "--echo", "--backend", backend, ...guest, "-x", script);
if (code === 0) {
  console.log(`\nThat was ${script}. Your turn: deno task hvsh ${guest.join(" ")}`);
}
Deno.exit(code);
