/** SeaBIOS draws on the VGA by its video BIOS; boot sectors that only know the BIOS are seen and answered there. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { decode } from "npm:fast-png@8.0.0";
import { type BackendName, firmware, type GuestMachine, hosts, MiB, open } from "../mod.ts";

const BIOS = "/usr/share/seabios/bios-256k.bin";
/** Far more than it takes in a lab, or interpreted, on a machine that others keep busy. */
const PATIENCE = { timeoutMs: 240_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const bios = await Deno.stat(BIOS).then(() => true, () => false);
if (!bios) console.log(`skipped: what SeaBIOS draws: no ${BIOS}: deno task setup`);
if (!kvm?.usable) console.log(`skipped: what SeaBIOS draws on kvm: ${kvm?.reason}`);

for (const backend of ["fake", "kvm"] as const) {
  Deno.test({
    name: `firmware on ${backend}: a boot sector reads keys and draws by the BIOS, on screen and serial line`,
    ignore: !bios || backend === "kvm" && !kvm?.usable,
    fn: () => bothConsoles(backend),
  });
}

async function bothConsoles(backend: BackendName): Promise<void> {
  const disk = new Uint8Array(1 << 20);
  disk.set(await Deno.readFile(new URL("../fixtures/bios_hello.bin", import.meta.url)));
  await using vm = await open({ backend, memory: MiB(32), boot: firmware(BIOS, { disk }) });
  const running = vm.continue({ timeoutMs: 3 * PATIENCE.timeoutMs });
  await vm.screen.expect(/^Booting from Hard Disk\.\.\.\nhello from the disk$/m, PATIENCE);
  await vm.console.expect("hello from the disk", PATIENCE);
  await vm.keyboard!.type("Keys", PATIENCE);
  await vm.screen.expect(/^Keys$/m, PATIENCE);
  await vm.console.expect("Keys", PATIENCE);
  await vm.console.send(" and line\r");
  await vm.console.expect("saved", PATIENCE);
  const [shown] = await vm.screen.expect(/^Keys and line\nsaved$/m, PATIENCE);
  assert.equal(new TextDecoder().decode(disk.subarray(512, 512 + 14)), "Keys and line\0");
  await seesLetters(vm, shown.split("\n"));
  await vm.keyboard!.press("esc");
  await vm.screen.expect(/^bye$/m, PATIENCE);
  assert.equal((await running).kind, "halt");
}

/** The picture, as a PNG file that another library reads, has equal dots for equal letters and none for blanks. */
async function seesLetters(vm: GuestMachine, lines: readonly string[]): Promise<void> {
  const { width, height, data } = decode(await vm.screen.png());
  assert.deepEqual([width, height], [720, 400]);
  const rows = vm.screen.text.split("\n");
  const cells = new Map<string, string>();
  for (const line of lines) {
    const row = rows.indexOf(line);
    for (const [column, letter] of [...line].entries()) {
      let dots = "";
      for (let y = 0; y < 16; y++) {
        for (let x = 0; x < 9; x++) {
          dots += data[((row * 16 + y) * width + column * 9 + x) * 3] > 0 ? "#" : ".";
        }
      }
      assert.equal(cells.get(letter) ?? dots, dots, `"${letter}" looks the same everywhere`);
      cells.set(letter, dots);
    }
  }
  assert.doesNotMatch(cells.get(" ")!, /#/);
  assert.equal(new Set(cells.values()).size, cells.size, "different letters look different");
}
