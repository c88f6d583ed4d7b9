/** Multiboot 1 kernels: those that nobody here wrote, from Debian's packages where they are installed, and ours of interrupts. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { elf, hosts, MiB, open } from "../mod.ts";

/** The newest file in /boot whose name matches. */
function installed(pattern: RegExp): string | undefined {
  try {
    const names = [...Deno.readDirSync("/boot")].map(({ name }) => name).filter((name) => pattern.test(name));
    return names.sort().map((name) => `/boot/${name}`).at(-1);
  } catch {
    return undefined;
  }
}

function test(
  name: string,
  file: string | undefined,
  pack: string,
  body: (file: string) => Promise<void>,
): void {
  if (file === undefined) console.log(`${name}: skipped, Debian's ${pack} is not installed`);
  Deno.test({ name: `multiboot: ${name}`, ignore: file === undefined, fn: () => body(file!) });
}

test(
  "Xen goes through real mode without a BIOS, and asks for its dom0 on COM1",
  installed(/^xen-\d.*-amd64\.gz$/),
  "xen-hypervisor",
  async (file) => {
    const boot = elf(file, { cmdline: "console=com1 com1=115200,8n1 noreboot" });
    await using vm = await open({ backend: "fake", memory: MiB(256), boot });
    assert.equal(vm.boot?.protocol, "multiboot");
    const stopped = vm.continue({ timeoutMs: 110_000 });
    await vm.console.expect(/dom0 kernel not specified/, { timeoutMs: 110_000 });
    await vm.pause();
    await stopped;
    assert.match(vm.console.text, /Bootloader: hvsh/);
    assert.match(vm.console.text, /Command line: console=com1/);
  },
);

test(
  "tboot reads the memory map and ends for want of modules",
  installed(/^tboot\.gz$/),
  "tboot",
  async (file) => {
    const boot = elf(file, { cmdline: "logging=serial" });
    await using vm = await open({ backend: "fake", memory: MiB(256), boot });
    const stop = await vm.continue({ timeoutMs: 60_000 });
    assert.equal(stop.kind, "halt");
    assert.match(vm.console.text, /0000000000100000 - 000000000ffe0000 {2}\(1\)/);
    assert.match(vm.console.text, /no MB1 modules/);
  },
);

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`multiboot: interrupts: skipped, ${kvm?.reason}`);
for (const backend of kvm?.usable ? ["kvm", "fake"] as const : ["fake"] as const) {
  Deno.test(`multiboot: a kernel that programs no chips has a BIOS's timer interrupt on ${backend}, also after a reset`, async () => {
    const boot = elf(new URL("../fixtures/bios_timer.bin", import.meta.url));
    await using vm = await open({ backend, memory: MiB(16), boot });
    for (let round = 0; round < 2; round++) {
      const stop = await vm.continue({ timeoutMs: 60_000 });
      assert.equal(stop.kind === "exit" ? stop.code : stop.kind, (0x2a << 1) | 1);
      await vm.reset();
    }
  });
}

Deno.test({
  name:
    "multiboot: handlers of the 8259's, the local APIC's and the kernel's own interrupts return, also after a reset",
  ignore: !kvm?.usable,
  fn: async () => {
    const boot = elf(new URL("../fixtures/interrupts.bin", import.meta.url));
    await using vm = await open({ backend: "kvm", memory: MiB(16), boot });
    for (let round = 0; round < 2; round++) {
      const stop = await vm.continue({ timeoutMs: 120_000 });
      assert.equal(stop.kind === "exit" ? stop.code : stop.kind, (0x2a << 1) | 1);
      await vm.reset();
    }
  },
});
