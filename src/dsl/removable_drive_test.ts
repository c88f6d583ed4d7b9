import "../host/preload.ts";
import assert from "node:assert/strict";
import { firmware, MiB, open, StateError } from "./mod.ts";
import { RemovableDrive } from "./removable_drive.ts";

const BLOCK = 2048;

/** Opens that are counted, of media that say whether they were closed. */
function media() {
  const closed: string[] = [];
  const open = (source: unknown) => ({
    medium: { name: String(source), size: BLOCK, read: () => undefined, write: () => undefined } as never,
    store: { [Symbol.dispose]: () => void closed.push(String(source)) },
  });
  return { open, closed };
}

Deno.test("removable drive: what comes out is closed, once", () => {
  const { open, closed } = media();
  {
    using drive = new RemovableDrive("cdrom", "hdc", "a", open);
    drive.insert("b");
    assert.deepEqual([drive.medium?.name, closed], ["b", ["a"]]);
    drive.eject();
    assert.deepEqual([drive.medium, closed], [undefined, ["a", "b"]]);
    drive.insert("c");
  }
  assert.deepEqual(closed, ["a", "b", "c"]);
});

Deno.test("removable drive: of a locked one nothing is taken unless by force, and the new one is closed again", () => {
  const { open, closed } = media();
  const asked: boolean[] = [];
  using drive = new RemovableDrive("cdrom", "hdc", "a", open);
  drive.connect({ insert: (_, force) => (asked.push(force), force) });
  assert.throws(() => drive.insert("b"), (e) => e instanceof StateError && /force/.test(e.remedy ?? ""));
  assert.throws(() => drive.eject(), StateError);
  assert.deepEqual([drive.medium?.name, closed], ["a", ["b"]]);
  drive.eject({ force: true });
  assert.deepEqual([drive.medium, closed, asked], [undefined, ["b", "a"], [false, false, true]]);
});

Deno.test("removable drive: the guest's drive has what was put into it, and a file that can't be opened changes nothing", async () => {
  const rom = new Uint8Array(0x10000).fill(0xf4);
  const disk = new Uint8Array(1 << 20);
  await using vm = await open({
    backend: "fake",
    memory: MiB(4),
    boot: firmware(rom, { disk, cdrom: new Uint8Array(16 * BLOCK) }),
  });
  const [hda, hdc] = vm.drives;
  assert.equal(hda.insert, undefined, "a disk stays");
  const seen = () => vm.devices.get("ide0")?.device.inspect?.()["secondary.master.blocks"];
  assert.equal(seen(), 16);
  hdc.insert?.(new Uint8Array(32 * BLOCK));
  assert.equal(seen(), 32);
  assert.throws(() => hdc.insert?.("/nowhere/cd.iso"), /can't be opened/);
  assert.equal(seen(), 32);
  hdc.eject?.();
  assert.equal(seen(), 0);
});
