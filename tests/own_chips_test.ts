/** Interrupt controllers, timer and clock of our own, for guests whose hypervisor has none: interpreted, and on KVM. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import {
  type BackendName,
  bootSector,
  type Device,
  firmware,
  flat,
  type GuestMachine,
  hosts,
  type InterruptLine,
  MiB,
  open,
} from "../mod.ts";
import { Pic8259 } from "../src/devices/pic8259.ts";

const BIOS = "/usr/share/seabios/bios.bin";
const CHIPS = new URL("../fixtures/chips.bin", import.meta.url);
const HELLO = new URL("../fixtures/bios_hello.bin", import.meta.url);
/** Far more than it takes on a machine that others keep busy. */
const PATIENCE = { timeoutMs: 240_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const bios = await Deno.stat(BIOS).then(() => true, () => false);
if (!kvm?.usable) console.log(`skipped: our own chips under KVM: ${kvm?.reason}`);
if (!bios) console.log(`skipped: firmware with our own chips: no ${BIOS}: deno task setup`);

for (const backend of ["fake", "kvm"] satisfies BackendName[]) {
  const skip = backend === "kvm" && !kvm?.usable;
  Deno.test({
    name:
      `own chips: timer and clock interrupts come through the 8259 pair, masked ones don't, on ${backend}`,
    ignore: skip,
    fn: async () => {
      const boot = bootSector(await Deno.readFile(CHIPS));
      await using vm = await open({ backend, memory: MiB(1), boot, irqchip: false });
      const stop = await vm.continue(PATIENCE);
      assert.ok(stop.kind === "exit", stop.kind);
      assert.equal(stop.code, 1);
    },
  });

  Deno.test({
    name:
      `own chips: SeaBIOS boots a disk, and reads the serial line by IRQ 0 and the keyboard by IRQ 1, on ${backend}`,
    ignore: skip || !bios,
    fn: async () => {
      const disk = new Uint8Array(1 << 20);
      disk.set(await Deno.readFile(HELLO));
      const boot = firmware(BIOS, { disk, vgabios: "none" });
      await using vm = await open({ backend, memory: MiB(4), boot, irqchip: false });
      const running = vm.continue(PATIENCE);
      await vm.console.expect("hello from the disk", PATIENCE);
      // SeaBIOS looks for characters on the serial line at each tick.
      await vm.console.send("by serial\r");
      await vm.console.expect("saved", PATIENCE);
      assert.equal(new TextDecoder().decode(disk.subarray(512, 522)), "by serial\0");
      await vm.keyboard!.type("by keyboard\n");
      await vm.console.expect("saved", PATIENCE);
      assert.equal(new TextDecoder().decode(disk.subarray(512, 524)), "by keyboard\0");
      await vm.pause();
      assert.equal((await running).kind, "pause");
      // SeaBIOS's count of ticks.
      assert.notEqual(new DataView((await vm.memory.read(0x46cn, 4)).buffer).getUint32(0, true), 0);
    },
  });
}

/** A device with a line to an interrupt input. */
function button(gsi: number): Device & { line?: InterruptLine } {
  return {
    name: "button",
    ports: [],
    attach(host) {
      this.line = host.line(gsi);
    },
  };
}

/** What the 8259 pair says of the first chip's requests. */
function requests(vm: GuestMachine): number {
  return Number(vm.devices.get("pic")?.device.inspect?.().IRR1);
}

Deno.test("own chips: a line that is high is high at a controller that is swapped in, or comes later", async () => {
  const device = button(5);
  const sector = bootSector(await Deno.readFile(CHIPS));
  await using vm = await open({ backend: "fake", memory: MiB(1), boot: sector, devices: [device] });
  device.line?.raise();
  assert.equal(requests(vm), 1 << 5);
  await vm.devices.swap(new Pic8259({ name: "pic" }));
  assert.equal(requests(vm), 1 << 5);
  device.line?.lower();
  await vm.devices.get("pic")?.remove();
  device.line?.raise();
  await vm.devices.add(new Pic8259());
  assert.equal(requests(vm), 1 << 5);
});

Deno.test("own chips: where the hypervisor has no controllers, lines beyond ours are refused", async () => {
  const boot = bootSector(await Deno.readFile(CHIPS));
  await assert.rejects(open({ backend: "fake", memory: MiB(1), boot, devices: [button(99)] }), {
    name: "InputError",
  });
});

Deno.test("own chips: a line that only the IOAPIC has comes with the vector of its entry", async () => {
  const code = new Uint8Array(0x30);
  // mov word [0x100], 0x1020; mov word [0x102], 0; sti; hlt; jmp back to the hlt
  code.set([0xc7, 0x06, 0x00, 0x01, 0x20, 0x10, 0xc7, 0x06, 0x02, 0x01, 0x00, 0x00, 0xfb, 0xf4, 0xeb, 0xfd]);
  code.set([0xb0, 0x05, 0xe6, 0xf4, 0xf4], 0x20); // mov al, 5; out 0xf4, al
  await using vm = await open({ backend: "fake", memory: MiB(1), boot: flat(code, { at: 0x1000 }) });
  const { device } = vm.devices.get("ioapic")!;
  const write = (offset: number, value: number) =>
    device.write?.(offset, Uint8Array.of(value, 0, 0, 0), { start: 0xfec0_0000, length: 0x1000 });
  write(0x00, 0x10 + 2 * 20);
  write(0x10, 0x40);
  await vm.interrupts.pulse(20);
  const stop = await vm.continue(PATIENCE);
  assert.ok(stop.kind === "exit", stop.kind);
  assert.equal(stop.code, 11);
});

for (const backend of ["fake", "kvm"] satisfies BackendName[]) {
  Deno.test({
    name: `own chips: what the guest's speaker sounds like is heard, on ${backend}`,
    ignore: backend === "kvm" && !kvm?.usable,
    fn: async () => {
      const code = Uint8Array.of(
        ...[0xb0, 0xb6, 0xe6, 0x43, 0xb0, 0xa9, 0xe6, 0x42, 0xb0, 0x04, 0xe6, 0x42], // timer 2: mode 3, count 1193
        ...[0xe4, 0x61, 0x0c, 0x03, 0xe6, 0x61], // in al, 0x61; or al, 3; out 0x61, al
        ...[0x24, 0xfc, 0xe6, 0x61, 0xfa, 0xf4], // and al, 0xfc; out 0x61, al; cli; hlt
      );
      const boot = flat(code, { at: 0x1000 });
      await using vm = await open({ backend, memory: MiB(1), boot, irqchip: false });
      assert.equal((await vm.continue(PATIENCE)).kind, "halt");
      assert.deepEqual(vm.speaker?.tones.map(({ hz }) => Math.round(hz)), [1000, 0]);
      assert.equal(vm.speaker.hz, 0);
    },
  });
}
