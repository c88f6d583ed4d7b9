/** Every script under scripts/ runs as its header says, and prints what it promises. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { flat, hosts, open } from "../mod.ts";

const SCRIPTS = new URL("../scripts/", import.meta.url);
const BIOS = "/usr/share/seabios/bios.bin";

/** What a script needs, its arguments, and what it has to print. */
interface Expected {
  readonly bios?: true;
  /** Whether the accesses of its guest come to it, which they do not from QEMU: it is given a backend then. */
  readonly accesses?: true;
  readonly args?: (folder: string) => string[];
  readonly prints: RegExp[];
}

const all = await hosts();
const usable = (name: string) => all.some((host) => host.backend === name && host.usable);
const kvm = usable("kvm");
/** What opens guests here if no backend is named. */
const backend = kvm ? "kvm" : "qemu";
if (!kvm) console.log("scripts run on QEMU, or are interpreted: there is no KVM");

const EXPECTED: Record<string, Expected> = {
  "seabios_menu.ts": {
    bios: true,
    accesses: true,
    args: () => [BIOS],
    prints: [/stopped: pause/, /0x402 +\d+ reads +\d{3,} writes +debugcon/],
  },
  "break_and_step.ts": {
    bios: true,
    accesses: true,
    args: () => [BIOS],
    prints: [
      /jmp 0xf000:0x/,
      /first CMOS access: port 0x70, write/,
      /breakpoint by (hardware|out|int3|emulated), 1 hit/,
    ],
  },
  "three_ways.ts": {
    args: (folder) => [backend, `${folder}/trace`],
    prints: [new RegExp(`${backend}: at body by step\n400 instructions in `)],
  },
  "upper_case_uart.ts": { accesses: true, prints: [/now ABC ABC\nthen abc abc/] },
  "answer_device.ts": { prints: [/7 \* 7 is 49/] },
  "perfetto_trace.ts": {
    bios: true,
    accesses: true,
    args: (folder) => [`${folder}/trace.json`, BIOS],
    prints: [/\d{4} accesses in/],
  },
  "virtio_device.ts": { prints: [/sent 14 bytes and got 14 back: HELLO, VIRTIO/] },
  "who_writes.ts": { prints: [/watching total at 0x\w+ by \w+/, /inner\+0x4: add .*<total>.* -> +55\n$/] },
};

const bios = await Deno.stat(BIOS).then(() => true, () => false);

Deno.test("every script has its line here, and stays under 60 lines", async () => {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(SCRIPTS)) {
    if (!name.endsWith(".ts")) continue;
    names.push(name);
    const text = await Deno.readTextFile(new URL(name, SCRIPTS));
    assert.ok(text.split("\n").length < 60, `${name} is too long`);
    assert.ok(text.startsWith("/**\n"), `${name} has no header that says what it shows`);
  }
  assert.deepEqual(names.sort(), Object.keys(EXPECTED).sort());
});

/** What a script says on this host, and how it ended. */
async function run(
  name: string,
  args: readonly string[],
): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", fileURLToPath(new URL(name, SCRIPTS)), ...args],
    env: { NO_COLOR: "1" },
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

for (const [name, { bios: needsBios, accesses, args, prints }] of Object.entries(EXPECTED)) {
  const missing = !kvm && !accesses && !usable("qemu")
    ? "neither KVM nor QEMU can be used here"
    : needsBios && !bios
    ? `no ${BIOS}: deno task setup`
    : undefined;
  if (missing !== undefined) console.log(`skipped: scripts/${name}: ${missing}`);
  Deno.test({
    name: `scripts/${name}`,
    ignore: missing !== undefined,
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        const { code, out, err } = await run(name, [
          ...args?.(folder) ?? [],
          ...(accesses && !kvm ? ["fake"] : []),
        ]);
        assert.equal(code, 0, err);
        for (const pattern of prints) assert.match(out, pattern);
        if (name === "perfetto_trace.ts") {
          const { traceEvents } = JSON.parse(await Deno.readTextFile(`${folder}/trace.json`));
          assert.ok(traceEvents.length > 1000);
        }
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

for (const [name, { accesses, args }] of Object.entries(EXPECTED)) {
  if (!accesses) continue;
  Deno.test({
    name: `scripts/${name} says that it can't be had on QEMU, instead of showing nothing`,
    ignore: !usable("qemu") || !bios,
    async fn() {
      const folder = await Deno.makeTempDir();
      try {
        const { code, err } = await run(name, [...args?.(folder) ?? [], "qemu"]);
        assert.equal(code, 1);
        assert.match(err, /UnsupportedError: devices can't be had here: the guest's devices are QEMU's own/);
      } finally {
        await Deno.remove(folder, { recursive: true });
      }
    },
  });
}

Deno.test("a guest with devices of one's own is interpreted where there is no KVM: QEMU could not have them", async () => {
  const port = { name: "port", ports: { start: 0x777, length: 1 } };
  await using vm = await open({ boot: flat(Uint8Array.of(0xf4)), devices: [port] });
  assert.equal(vm.backend, kvm ? "kvm" : "fake");
});
