/** Memory attributes below 1 MiB: reads and writes of an area go to RAM or to what lies over it, each for itself. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type BackendName, flat, hosts, MiB, open } from "../mod.ts";

const CODE = new URL("../fixtures/pam.bin", import.meta.url);

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`skipped: memory attributes on kvm: ${kvm?.reason}`);

for (const backend of ["fake", "kvm"] as const) {
  Deno.test({
    name: `PAM on ${backend}: RAM, nothing, reads of RAM alone, writes to RAM alone`,
    ignore: backend === "kvm" && !kvm?.usable,
    fn: () => attributes(backend),
  });
}

async function attributes(backend: BackendName): Promise<void> {
  await using vm = await open({ backend, memory: MiB(4), boot: flat(CODE, { at: 0x1000 }) });
  const stop = await vm.continue({ timeoutMs: 30_000 });
  assert.equal(stop.kind, "exit");
  assert.equal(vm.console.text, "a.aa.def");
}
