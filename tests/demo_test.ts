/** `deno task demo` shows what it promises, unattended. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { decode } from "npm:fast-png@8.0.0";
import { hosts } from "../mod.ts";

const ROOT = new URL("../", import.meta.url);
const decoder = new TextDecoder();

async function run(args: string[], within: readonly string[] = []): Promise<string> {
  const deno = [Deno.execPath(), "run", "-q", "-A", "--no-check", "--unstable-lazy-dynamic-imports"];
  const [program, ...words] = [...within, ...deno, ...args];
  const { code, stdout, stderr } = await new Deno.Command(program, {
    args: words,
    cwd: ROOT,
    env: { NO_COLOR: "1" },
    stdin: "null",
  }).output();
  assert.equal(code, 0, decoder.decode(stderr));
  return decoder.decode(stdout);
}

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const bios = await Deno.stat("/usr/share/seabios/bios.bin").then(() => true, () => false);
const missing = !kvm?.usable ? `no KVM: ${kvm?.reason}` : bios ? undefined : "no seabios: deno task setup";
if (missing !== undefined) console.log(`skipped: the demo with SeaBIOS: ${missing}`);

Deno.test({
  name: "the demo shows SeaBIOS from its reset vector to its menu, and a disk's boot sector on the screen",
  ignore: missing !== undefined,
  async fn() {
    const text = await run(["tools/demo.ts"]);
    assert.match(text, /=> 0xfffffff0:\tjmp 0xf000:0x/, "the reset vector");
    assert.match(text, /Catchpoint 1 \(port 0x70 <- 0x8f\)/, "a break on a port");
    assert.match(text, /^\$1 = 83 'S'$/m, "a breakpoint whose condition knows the letter");
    assert.match(text, /BeaBIOS \(version/, "the changed register shows");
    assert.match(text, /Found 2 serial ports/, "the firmware takes our device for a serial port");
    assert.match(text, /Select boot device/, "the boot menu answers");
    assert.match(text, /=> 0x7c00:/, "the boot sector");
    assert.match(text, /^hello from the disk\ntyped$/m, "the screen");
    assert.match(text, /720 by 400 dots saved in build\/demo.png/, "the screenshot");
    const { width, height, channels, data } = decode(await Deno.readFile(new URL("build/demo.png", ROOT)));
    assert.deepEqual([width, height, channels], [720, 400, 3]);
    const lit = (row: number) =>
      data.subarray(row * 16 * 720 * 3, (row + 1) * 16 * 720 * 3).some((dot) => dot > 0);
    assert.ok(lit(0) && !lit(24), "text at the top, nothing at the bottom");
    assert.match(text, /\d{4} exits/, "exit statistics");
  },
});

const qemu = (await hosts()).find((host) => host.backend === "qemu");
const lacking = !qemu?.usable ? `no QEMU: ${qemu?.reason}` : bios ? undefined : "no seabios: deno task setup";
if (lacking !== undefined) console.log(`skipped: the demo in QEMU: ${lacking}`);

/** Hides /dev/kvm from a program, by a mount that nobody else sees. */
const HIDDEN = ["unshare", "-r", "-m", "sh", "-c", 'mount --bind /dev/null /dev/kvm && exec "$@"', "sh"];
const canHide = kvm?.usable &&
  await new Deno.Command(HIDDEN[0], { args: [...HIDDEN.slice(1), "true"], stderr: "null" }).output()
    .then(({ success }) => success, () => false);
if (kvm?.usable && !canHide) console.log("the demo in QEMU is asked for: /dev/kvm can't be hidden here");

Deno.test({
  name: "where there is no KVM, the demo shows SeaBIOS in QEMU, and says so",
  ignore: lacking !== undefined,
  async fn() {
    const asked = kvm?.usable && !canHide ? ["--backend", "qemu"] : [];
    const text = await run(["tools/demo.ts", ...asked], canHide ? HIDDEN : []);
    if (asked.length === 0) assert.match(text, /KVM can't be used here: .*[^]*So QEMU runs the guest/);
    assert.match(text, /hvsh\[qemu\]> x\/i \$rip\n=> 0xfffffff0:\tjmp 0xf000:0x/, "the reset vector");
    assert.match(text, /Watchpoint 1: \*0x450/, "a watchpoint");
    assert.match(text, /^Breakpoint 2, /m, "a breakpoint with a condition");
    assert.match(text, /^16\b/m, "which was asked for sixteen times");
    assert.match(text, /SeaBIOS \(version/, "its console");
    assert.match(text, /"Found \d serial ports"/, "its debug port");
    assert.match(text, /Select boot device/, "the boot menu answers");
  },
});

Deno.test("without SeaBIOS or KVM the demo shows a small kernel", async () => {
  const script = "scripts/demo_fixture.hvsh";
  const kernel = ["--backend", "fake", "-m", "64", "-kernel", "fixtures/elf64.bin"];
  const text = await run(["src/repl/main.ts", "-q", "--norc", "--echo", ...kernel, "-x", script]);
  assert.match(text, /Breakpoint 1, .* in inner \(\)/);
  assert.match(text, /#3 .* in _start\+0x13 \(\)/);
  assert.match(text, /port 0x0777 -> 0x31/);
  assert.match(text, /\[The guest exited with code 47\]/);
});
