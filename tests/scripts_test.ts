/** Every script under scripts/ runs as its header says, and prints what it promises. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { hosts } from "../mod.ts";

const SCRIPTS = new URL("../scripts/", import.meta.url);
const BIOS = "/usr/share/seabios/bios.bin";

/** What a script needs beside KVM, its arguments, and what it has to print. */
const EXPECTED: Record<string, { bios?: true; args?: (folder: string) => string[]; prints: RegExp[] }> = {
  "seabios_menu.ts": { bios: true, prints: [/stopped: pause/, /0x402 +\d+ reads +\d{3,} writes +debugcon/] },
  "break_and_step.ts": {
    bios: true,
    prints: [
      /jmp 0xf000:0x/,
      /first CMOS access: port 0x70, write/,
      /breakpoint by (hardware|out|int3), 1 hit/,
    ],
  },
  "three_ways.ts": {
    args: (folder) => ["kvm", `${folder}/trace`],
    prints: [/kvm: at body by step\n400 instructions in /],
  },
  "upper_case_uart.ts": { prints: [/now ABC ABC\nthen abc abc/] },
  "answer_device.ts": { prints: [/7 \* 7 is 49/] },
  "perfetto_trace.ts": {
    bios: true,
    args: (folder) => [`${folder}/trace.json`],
    prints: [/\d{4} accesses in/],
  },
  "virtio_device.ts": { prints: [/sent 14 bytes and got 14 back: HELLO, VIRTIO/] },
  "who_writes.ts": { prints: [/watching total at 0x\w+ by \w+/, /inner\+0x4: add .*<total>.* -> +55\n$/] },
};

const kvm = (await hosts()).find((host) => host.backend === "kvm");
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

for (const [name, { bios: needsBios, args, prints }] of Object.entries(EXPECTED)) {
  const missing = !kvm?.usable
    ? `no KVM: ${kvm?.reason}`
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
        const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
          args: ["run", "-A", "--no-check", fileURLToPath(new URL(name, SCRIPTS)), ...args?.(folder) ?? []],
          env: { NO_COLOR: "1" },
        }).output();
        const text = new TextDecoder().decode(stdout);
        assert.equal(code, 0, new TextDecoder().decode(stderr));
        for (const pattern of prints) assert.match(text, pattern);
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
