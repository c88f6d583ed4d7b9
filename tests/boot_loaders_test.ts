/** GRUB from a disk and isolinux from a CD, made with Debian's packages, come to their prompts and answer keys. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { firmware, type FirmwareBoot, flat, type GuestMachine, hosts, MiB, open } from "../mod.ts";
import { bootMediaMissing, drawn, grubDisk, isolinuxCd } from "./boot_media.ts";

const BIOS = "/usr/share/seabios/bios-256k.bin";
/** Far more than it takes in a lab that others keep busy. */
const PATIENCE = { timeoutMs: 400_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const bios = await Deno.stat(BIOS).then(() => true, () => false);
const missing = !kvm?.usable
  ? `no KVM: ${kvm?.reason}`
  : bios
  ? bootMediaMissing()
  : `no ${BIOS}: deno task setup`;
if (missing !== undefined) console.log(`skipped: boot loaders on disk and CD: ${missing}`);

/** Why isolinux's protected-mode core can't run on this KVM, if so: it returns from interrupts by IRET. */
const noIret = missing === undefined && !await returnsInProtectedMode()
  ? "this KVM emulates kernels' code, and its emulator has no IRET of protected mode (Linux, emulate.c, em_iret)"
  : undefined;
if (noIret !== undefined) console.log(`skipped: isolinux on a CD: ${noIret}`);

async function returnsInProtectedMode(): Promise<boolean> {
  // pushfd; push cs; push 0x1008; iretd; (0x1008:) cli; hlt
  const code = Uint8Array.of(0x9c, 0x0e, 0x68, 0x08, 0x10, 0, 0, 0xcf, 0xfa, 0xf4);
  await using vm = await open({
    backend: "kvm",
    memory: MiB(1),
    boot: flat(code, { at: 0x1000, mode: "protected" }),
  });
  const stop = await vm.continue(PATIENCE);
  assert.ok(stop.kind === "halt" || stop.kind === "fault", stop.kind);
  return stop.kind === "halt";
}

/** Boots a medium, and talks to it while it runs. */
function test(
  name: string,
  media: () => Promise<FirmwareBoot>,
  talk: (vm: GuestMachine, shows: (text: string) => Promise<unknown>) => Promise<void>,
  unless?: string,
): void {
  Deno.test({
    name: `boot loaders: ${name}`,
    ignore: missing !== undefined || unless !== undefined,
    fn: async () => {
      const boot = firmware(BIOS, await media());
      await using vm = await open({ backend: "kvm", memory: MiB(64), boot });
      const running = vm.continue(PATIENCE);
      // A guest that stops by itself shows nothing more: its stop says why.
      const ended = running.then((stop) => assert.equal(stop.kind, "pause", vm.console.text.slice(-400)));
      const shows = (text: string) => Promise.race([vm.console.expect(drawn(text), PATIENCE), ended]);
      await talk(vm, shows);
      await vm.pause();
      await ended;
    },
  });
}

test(
  "GRUB on a disk: its prompt, its view of the disk, keys",
  async () => ({ disk: await grubDisk(), vgabios: "none" }),
  async (vm, shows) => {
    await shows("GNU GRUB");
    await shows("grub> ");
    await vm.console.send("ls\r");
    await shows("(hd0)");
    await shows("grub> ");
  },
);

test(
  "isolinux on a CD: what it says, its prompt, keys",
  async () => ({ cdrom: await isolinuxCd("hello from the CD"), vgabios: "none" }),
  async (vm, shows) => {
    await shows("hello from the CD");
    await shows("boot:");
    await vm.console.send("nothing\r");
    await shows("No such file or directory");
    await shows("boot:");
  },
  noIret,
);
