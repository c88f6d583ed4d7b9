/**
 * PCI functions of ours beside QEMU's on HVM guests, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_pci.ts [own|virtio|boot|linux ...]`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import {
  attach,
  domains,
  firmware,
  flat,
  gpa,
  InputError,
  MiB,
  open,
  virtioDisk,
  virtioRng,
} from "../../mod.ts";
import { DebugExit } from "../../src/devices/debug_exit.ts";
import { type BarRange, PciFunction } from "../../src/devices/pci/pci_function.ts";
import { createPaused, destroy, xl } from "../../src/xen/xl.ts";
import type { DeviceRange } from "../../src/vm/device.ts";
import { guestInitramfs } from "../linux/initramfs.ts";
import { findKernel } from "./kernel.ts";

const VIRTIO_PCI = new URL("../../fixtures/virtio_pci.bin", import.meta.url);
const LIMIT = { timeoutMs: 120_000 };
const LINUX_LIMIT = { timeoutMs: 900_000 };

const began = performance.now();
const say = (what: string) => console.log(`ok ${what} (${((performance.now() - began) / 1e3).toFixed(0)} s)`);

/** A function with ports, memory and a pin: a write to memory at 0 raises it, a read at 1 lowers it. */
class Card extends PciFunction {
  readonly seen: string[] = [];

  constructor(override readonly slot?: number) {
    super("card", {
      vendor: 0x1234,
      device: 0x5678,
      classCode: 0xff_00_00,
      pin: 1,
      bars: [{ kind: "io", size: 16 }, { kind: "memory", size: 0x1000 }],
    });
  }

  read(offset: number, data: Uint8Array, range: DeviceRange): void {
    const { bar } = range as BarRange;
    if (bar === 1 && offset === 1) this.intx.lower();
    data.fill(0x40 * (bar + 1) + offset);
  }

  write(offset: number, data: Uint8Array, range: DeviceRange): void {
    const { bar } = range as BarRange;
    if (bar === 1 && offset === 0) this.intx.raise();
    this.seen.push(`${bar}+${offset}=${data[0]}`);
  }
}

/**
 * Real mode, with ES at the LAPIC and FS at 0xd0000000. The LAPIC is on, LINT0 is the 8259's way in; of that line 5 is let
 * through, and is a level. PIIX3's PIRQD leads to line 5, where INTA# of slot 31 arrives; PIIX3's identity goes to 0x4020.
 * Slot 31's goes to 0x4000; its BARs are ports at 0xc000 and memory at 0xd0000000, both decoded: OUT 0xc004; what IN gives
 * goes to 0x4004; mov fs:[8], bl; fs:[9] to 0x4005. Memory moves to 0xd0008000: mov fs:[0x800a], bl; fs:[8] to 0x4006,
 * fs:[0x800b] to 0x4007. Ports are decoded no more: what IN gives goes to 0x4008. sti; mov fs:[0x8000], bl; until the
 * byte at 0x4010 is 1; cli; hlt
 */
const CODE = hex(
  "2666c706f000ff0100002666c706500300070000b011e620b008e621b004e621b001e621b0dfe621bad004b020ee66b8" +
    "60080080e8b000baff0cb005ee66b800080080e8a10066ed66a3204066b800f80080e8920066ed66a3004066b810f800" +
    "80e8830066b800c0000066ef66b814f80080e8720066b8000000d066ef66b804f80080e86100b80300efba04c0b011ee" +
    "eca2044064881e080064a00900a2054066b814f80080e83e0066b8008000d066ef64881e0a8064a00800a2064064a00b" +
    "80a2074066b804f80080e81a00b80200efba04c0eca20840fb64881e0080803e10400175f9faf4baf80c66efbafc0cc3",
);
/** Line 5: mov al, fs:[0x8001]; inc byte [0x4010]; end of interrupt; iret */
const HANDLER = hex("64a00180fe061040b020e620cf");
const VECTOR = 8 + 5;

/** A small guest that finds the function, places and moves its ranges, and takes an interrupt of its pin. */
async function own(): Promise<void> {
  const card = new Card();
  await using vm = await open({
    backend: "xen-hvm",
    memory: MiB(16),
    boot: flat(CODE, { at: 0x1000, mode: "real" }),
    devices: [card],
  });
  // QEMU has 440FX, PIIX3, Xen's platform device and the display.
  for (const slot of [0, 1, 2, 3]) {
    await assert.rejects(vm.devices.add(Object.assign(new Card(slot), { name: "other" })), InputError);
  }
  say("slots of QEMU's are refused");
  await vm.memory.writeUint(gpa(4 * VECTOR), 4, 0x2000n);
  await vm.memory.write(gpa(0x2000), HANDLER);
  await vm.vcpus[0].setRegisters({
    es_base: 0xfee0_0000n,
    fs_base: 0xd000_0000n,
    rbx: 7n,
    rsp: 0x3000n,
  });
  const end = await vm.continue(LIMIT);
  assert.equal(end.kind, "halt", `${end.kind} at 0x${end.rip.toString(16)}`);
  assert.deepEqual(card.seen, ["0+4=17", "1+8=7", "1+10=7", "1+0=7"]);
  assert.equal(await vm.memory.readUint(gpa(0x4000), 4), 0x5678_1234n);
  assert.equal(await vm.memory.readUint(gpa(0x4020), 4), 0x7000_8086n);
  assert.deepEqual([...await vm.memory.read(gpa(0x4004), 5)], [0x44, 0x89, 0xff, 0x8b, 0xff]);
  assert.equal(await vm.memory.readUint(gpa(0x4010), 1), 1n);
  say(
    "a function in slot 31 beside PIIX3, with ports and memory that the guest places, moves and switches off",
  );
  say("its pin's interrupt, by PIIX3's routing and Xen's 8259");
}

/** fixtures/virtio_pci.s asks for 16 random bytes, and MSI-X wakes it. */
async function virtio(): Promise<void> {
  let code: number | undefined;
  await using vm = await open({
    backend: "xen-hvm",
    memory: MiB(16),
    boot: flat(await Deno.readFile(VIRTIO_PCI), { at: 0x1_0000, mode: "protected" }),
    devices: [
      virtioRng({ transport: "pci" }),
      new DebugExit({
        onExit: (told) => {
          code = told >> 1;
          vm.requestStop({ kind: "exit", code: told });
        },
      }),
    ],
  });
  await vm.memory.write(gpa(0x1_0004n), new Uint8Array(Uint32Array.of(0, 16, 0, 0, 1).buffer));
  const stop = await vm.continue(LIMIT);
  assert.deepEqual([stop.kind, code], ["exit", 16], `at 0x${stop.rip.toString(16)}`);
  say("virtio-rng over PCI in a guest without firmware, with MSI-X");
}

/** COM1: '!'; cli; hlt */
const PRINTING = hex("baf803b021eefaf4");

/** hvmloader finds a disk of ours and gives it addresses, SeaBIOS boots from it. */
async function boot(): Promise<void> {
  const disk = Deno.makeTempFileSync({ suffix: ".img" });
  try {
    const sector = new Uint8Array(1 << 20);
    sector.set(PRINTING);
    sector.set([0x55, 0xaa], 510);
    Deno.writeFileSync(disk, sector);
    await using vm = await open({
      backend: "xen-hvm",
      memory: MiB(32),
      boot: firmware("/usr/share/seabios/bios-256k.bin"),
      devices: [virtioDisk(disk, { transport: "pci" })],
    });
    const end = await vm.continue(LIMIT);
    assert.deepEqual([end.kind, end.rip, vm.console.text.trim()], ["halt", 0x7c08n, "!"]);
    say("SeaBIOS boots from a virtio disk of ours over PCI");
  } finally {
    Deno.removeSync(disk);
  }
}

/** Looks at bus 0 for virtio devices and at the generator of random numbers, at its start and for each line it gets. */
const SCRIPT = `
look() {
  for d in /sys/bus/pci/devices/*; do
    [ "$(cat $d/vendor)" = 0x1af4 ] && echo "FOUND \${d##*/} \$(basename \$(readlink \$d/driver))"
  done
  for d in /sys/class/misc/hw_random; do echo "RNG \$(cat \$d/rng_available)"; done
  echo "RANDOM \$(head -c 16 /dev/hwrng | wc -c)"
  grep virtio /proc/interrupts
}
look
echo READY
while read line; do
  echo 1 > /sys/bus/pci/rescan
  sleep 1
  look
  echo "DONE $line"
done
`;

/** Debian's kernel in a domain that others made: functions are there from the start, and added while it runs. */
async function linux(): Promise<void> {
  const kernel = findKernel();
  const initrd = await guestInitramfs(kernel, ["virtio_pci", "virtio_rng"], SCRIPT);
  const name = "pci-linux";
  createPaused(name, [
    'type="hvm"',
    "memory=256",
    "vcpus=1",
    'serial="pty"',
    "vnc=0",
    ...["crash", "reboot", "poweroff"].map((event) => `on_${event}="preserve"`),
    'cmdline="console=ttyS0 mitigations=off panic=-1 quiet"',
  ], [{ key: "kernel", bytes: await Deno.readFile(kernel.image) }, { key: "ramdisk", bytes: initrd }]);
  try {
    {
      // Before its firmware runs, which gives the function its addresses.
      await using vm = await attach({ backend: "xen", domain: name });
      const early = await vm.devices.add(virtioRng({ transport: "pci", name: "early" }));
      xl("unpause", name);
      const running = vm.continue(LINUX_LIMIT);
      await Promise.race([
        vm.console.expect(/READY/, LINUX_LIMIT),
        running.then((stop) =>
          assert.fail(`${stop.kind}: ${"reason" in stop ? stop.reason : ""} ${vm.console.text}`)
        ),
      ]);
      const first = vm.console.text;
      assert.match(first, /FOUND 0000:00:1f\.0 virtio-pci/);
      assert.match(first, /RNG virtio_rng\.0/);
      assert.match(first, /RANDOM 16/);
      say(`Debian's kernel finds a function that was there before its firmware ran:\n${shown(first)}`);
      const late = await vm.devices.add(virtioRng({ transport: "pci", name: "late" }));
      await vm.console.send("again\n");
      await vm.console.expect(/DONE again/, LINUX_LIMIT);
      const second = vm.console.text.slice(first.length);
      assert.match(second, /FOUND 0000:00:1e\.0 virtio-pci/);
      assert.match(second, /RANDOM 16/);
      say(`and one that is added while it runs, once it looks again:\n${shown(second)}`);
      await vm.pause();
      await running;
      for (const { device } of [early, late]) {
        const messages = Object.entries(device.inspect?.() ?? {}).filter(([name]) => name.startsWith("MSIX"));
        say(`${device.name}: ${messages.map(([name, to]) => `${name} ${to}`).join(", ")}`);
      }
    }
  } finally {
    destroy(name);
  }
  assert.equal((await domains()).find((domain) => domain.name === name), undefined);
}

function shown(text: string): string {
  return text.split("\n").filter((line) => /FOUND|RNG|RANDOM|virtio/.test(line)).map((line) =>
    `  ${line.trim()}`
  )
    .join("\n");
}

function hex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (byte) => parseInt(byte, 16));
}

const PARTS: Record<string, () => Promise<void>> = { own, virtio, boot, linux };

if (import.meta.main) {
  for (const part of Deno.args.length > 0 ? Deno.args : Object.keys(PARTS)) await PARTS[part]();
  say("all of it");
}
