import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { OwnedFd } from "../src/host/fd.ts";
import { Mapping } from "../src/host/mapping.ts";
import { SLICE_SIGNAL } from "../src/host/slice_timer.ts";
import { blockedSignals, inSet } from "../src/host/signals.ts";
import { kvmHost } from "../src/kvm/hosts.ts";
import { openKvm } from "../src/kvm/open.ts";
import { growthOf } from "./leaks.ts";

const MEBIBYTE = 1024 * 1024;
const host = kvmHost();
if (!host.usable) console.log(`skipped, as ${host.reason}: leaks of KVM guests`);

Deno.test("the counter sees a descriptor and a mapping that stay", async () => {
  const kept: Disposable[] = [];
  const grown = await growthOf(() => {
    kept.push(OwnedFd.open("/dev/null"), Mapping.anonymous(64 * MEBIBYTE));
  }, 2);
  assert.deepEqual(grown.fds, ["/dev/null", "/dev/null"]);
  assert.ok(grown.virtual >= 128 * MEBIBYTE);
  for (const each of kept) each[Symbol.dispose]();
});

Deno.test("the counter sees nothing where nothing stays", async () => {
  const grown = await growthOf(() => {
    using _file = OwnedFd.open("/dev/null");
    using _memory = Mapping.anonymous(64 * MEBIBYTE);
  }, 20);
  assert.deepEqual(grown.fds, []);
  assert.ok(grown.virtual < 64 * MEBIBYTE);
});

Deno.test({
  name: "a 4 GiB guest opened, used and closed 200 times leaves no descriptor, mapping or memory behind",
  ignore: !host.usable,
  fn: async () => {
    const touched = new Uint8Array(MEBIBYTE).fill(1);
    const grown = await growthOf(() => {
      using guest = openKvm({ memory: 4096 * MEBIBYTE, cpus: 1, irqchip: false, pit: false });
      guest.memory.write(0n, touched);
      guest.memory.write(0xf0n, Uint8Array.of(0xf4));
      guest.vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0xf0n });
      let exit = guest.vcpus[0].run();
      while (exit.kind === "slice") exit = guest.vcpus[0].run();
      assert.equal(exit.kind, "halt");
      guest.vcpus[0].registers();
    }, 200);
    assert.deepEqual(grown.fds, []);
    assert.deepEqual(grown.maps, []);
    // One guest left behind would be 4 GiB of address space and a mebibyte in use.
    assert.ok(grown.virtual < 1024 * MEBIBYTE, `${grown.virtual} bytes of address space`);
    assert.ok(grown.resident < 100 * MEBIBYTE, `${grown.resident} bytes in use`);
    assert.ok(!inSet(blockedSignals(), SLICE_SIGNAL), "the thread's signal mask was not put back");
  },
});

Deno.test({
  name: "a guest that fails to open leaves nothing behind",
  ignore: !host.usable,
  fn: async () => {
    const grown = await growthOf(() => {
      const memory = MEBIBYTE;
      const rom = { name: "rom", at: 0n, bytes: new Uint8Array(4096) };
      assert.throws(() => openKvm({ memory, cpus: 1, irqchip: false, pit: false, roms: [rom] }), /overlaps/);
      assert.throws(() => openKvm({ memory, cpus: 100_000, irqchip: true, pit: false }), /vCPUs/);
    }, 20);
    assert.deepEqual(grown.fds, []);
    assert.deepEqual(grown.maps, []);
    assert.ok(!inSet(blockedSignals(), SLICE_SIGNAL));
  },
});
