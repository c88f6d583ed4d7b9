/**
 * `deno task demo`: a real session, typed by itself. SeaBIOS on /dev/kvm, or in QEMU where there is no KVM, if the
 * package `seabios` is there (it is installed where that is possible); else a small kernel. `--backend NAME` chooses.
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

const known = await hosts();
const wanted = Deno.args[0] === "--backend" ? Deno.args[1] : undefined;
const usable = (name: string) => known.find((host) => host.backend === name)?.usable === true;
const backend = wanted ?? ["kvm", "qemu", "fake"].find(usable) ?? "fake";
const kvm = known.find((host) => host.backend === "kvm");
if (wanted === undefined && kvm?.usable === false) {
  console.log(`demo: KVM can't be used here: ${kvm.reason}`);
  console.log(`  ${kvm.remedy}`);
  console.log(
    backend === "qemu"
      ? "  So QEMU runs the guest, translating its instructions, under the same debugger.\n"
      : "  So the built-in interpreter runs a small kernel instead.\n",
  );
}
if (backend !== "fake" && !await exists(BIOS)) {
  console.log("demo: Debian's seabios is not there yet.");
  await deno("run", "-q", "-A", "--no-check", "tools/setup.ts", "seabios");
  if (!await exists(BIOS)) console.log("demo: without seabios, the session shows a small kernel.");
  console.log("");
}

const firmware = backend !== "fake" && await exists(BIOS);
// QEMU's drives are its own: they are not for hvsh to give.
const disk = backend === "qemu" ? [] : ["-hda", "fixtures/bios_hello.bin", "-snapshot", "-boot", "c,menu=on"];
const guest = firmware ? ["-m", "64", "-bios", BIOS, ...disk] : ["-m", "64", "-kernel", "fixtures/elf64.bin"];
if (disk.length > 0) await Deno.mkdir(new URL("build", ROOT), { recursive: true });
const script = !firmware
  ? "scripts/demo_fixture.hvsh"
  : backend === "qemu"
  ? "scripts/demo_qemu.hvsh"
  : "scripts/demo.hvsh";
const shell = ["run", "-q", "-A", "--no-check", "--unstable-lazy-dynamic-imports", "src/repl/main.ts"];
console.log(`$ hvsh --backend ${backend} ${guest.join(" ")} -x ${script}`);
const code = await deno(...shell, "-q", "--norc", "--echo", "--backend", backend, ...guest, "-x", script);
if (code === 0) {
  console.log(`\nThat was ${script}. Your turn: deno task hvsh ${guest.join(" ")}`);
}
Deno.exit(code);
