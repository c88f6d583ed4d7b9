/** Save in one release, restore in the next: records that an earlier one saved are still taken. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { firmware, MiB, open } from "../mod.ts";

/**
 * By device: what `save()` gave when SeaBIOS had booted fixtures/bios_hello.bin from a disk of 1 MiB, with a CD of 64
 * blocks, on the interpreter. It stays as it is; a device whose record changes brings old ones up to date.
 */
const SAVED = new URL("../fixtures/device_states.json", import.meta.url);

Deno.test("device states: what an earlier release saved is restored, and saved again as it was", async () => {
  const states = JSON.parse(await Deno.readTextFile(SAVED)) as Record<string, { version: number }>;
  const rom = new Uint8Array(0x10000);
  const media = { disk: new Uint8Array(1 << 20), cdrom: new Uint8Array(64 * 2048) };
  const boot = firmware(rom, { ...media, vgabios: "none" });
  await using vm = await open({ backend: "fake", memory: MiB(4), boot });
  const saving = vm.devices.list().filter(({ device }) => device.save !== undefined).map(({ name }) => name);
  assert.deepEqual(Object.keys(states).filter((name) => !saving.includes(name)), []);
  for (const [name, state] of Object.entries(states)) {
    const { device } = vm.devices.get(name)!;
    device.restore?.(state);
    const again = JSON.parse(JSON.stringify(device.save?.())) as { version: number };
    if (again.version === state.version) assert.deepEqual(again, state, name);
  }
});
