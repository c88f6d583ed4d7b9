/** A guest with more than 4 GiB, and the hole below it, on a real hypervisor. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { gpa, hosts, linux, MiB, open } from "../mod.ts";

const kvm = (await hosts()).find(({ backend }) => backend === "kvm");
if (!kvm?.usable) console.log(`skipped: a guest of 5 GiB on KVM (${kvm?.reason})`);

const HIGH = 1n << 32n;

Deno.test({
  name:
    "a guest of 5 GiB has 3 of them at 0 and 2 at 4 GiB, finds that in its e820 map, and nothing in the hole",
  ignore: !kvm?.usable,
  fn: async () => {
    const kernel = new URL("../fixtures/bzimage.bin", import.meta.url);
    await using vm = await open({ backend: "kvm", memory: MiB(5 * 1024), boot: linux({ kernel }) });
    const stop = await vm.continue({ timeoutMs: 20_000 });
    assert.equal(stop.kind, "halt");
    const params = stop.registers.rbx;
    const map: [bigint, bigint, bigint][] = [];
    for (let i = 0n; i < await vm.memory.readUint(gpa(params + 0x1e8n), 1); i++) {
      const entry = params + 0x2d0n + 20n * i;
      const [at, size] = [entry, entry + 8n].map((field) => vm.memory.readUint(gpa(field), 8));
      map.push([await at, await size, await vm.memory.readUint(gpa(entry + 16n), 4)]);
    }
    // The last 128 KiB are SeaBIOS's in QEMU, as is what lies below 4 GiB.
    const end = 0xc000_0000n - 0x2_0000n;
    assert.deepEqual(map.slice(-4), [
      [0x10_0000n, end - 0x10_0000n, 1n],
      [end, 0x2_0000n, 2n],
      [0xfffb_c000n, HIGH - 0xfffb_c000n, 2n],
      [HIGH, 0x8000_0000n, 1n],
    ]);
    assert.equal(await vm.memory.readUint(gpa(HIGH), 8), 0x1122_3344_5566_7788n);
    assert.equal(await vm.memory.readUint(gpa(HIGH + 0x8000_0000n - 8n), 8), 0xeedd_ccbb_aa99_8877n);
    assert.equal(stop.registers.rdx, 0xffff_ffffn, "what nobody has reads as ones");
    await assert.rejects(vm.memory.read(gpa(0xc000_0000n), 1), { name: "FaultError" });
  },
});
