/** The A20 gate: closed, the second megabyte is the first one, for the processor and for whoever looks. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type BackendName, flat, gpa, hosts, MiB, open } from "../mod.ts";

const CODE = new URL("../fixtures/a20.bin", import.meta.url);

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`skipped: the A20 gate on kvm: ${kvm?.reason}`);

for (const backend of ["fake", "kvm"] as const) {
  Deno.test({
    name: `A20 on ${backend}: port 0x92 and the keyboard controller wrap memory at 1 MiB`,
    ignore: backend === "kvm" && !kvm?.usable,
    fn: () => wraps(backend),
  });
}

async function wraps(backend: BackendName): Promise<void> {
  await using vm = await open({ backend, memory: MiB(4), boot: flat(CODE, { at: 0x1000 }) });
  const stop = await vm.continue({ timeoutMs: 30_000 });
  assert.equal(stop.kind, "exit");
  assert.equal(vm.console.text, "aaccbc0b2cb");
  const byte = async (at: bigint) => String.fromCharCode((await vm.memory.read(gpa(at), 1))[0]);
  assert.deepEqual([await byte(0x500n), await byte(0x10_0500n)], ["c", "b"]);
}

Deno.test("A20 on fake: a saved port carries the gate, a reset opens it, and what is above 2 MiB stays", async () => {
  await using vm = await open({
    backend: "fake",
    memory: MiB(4),
    boot: flat(Uint8Array.of(0xf4), { at: 0x1000 }),
  });
  const byte = async (at: bigint) => (await vm.memory.read(gpa(at), 1))[0];
  for (const [at, value] of [[0x500n, 1], [0x10_0500n, 2], [0x20_0500n, 3]] as const) {
    await vm.memory.write(gpa(at), Uint8Array.of(value));
  }
  const port = vm.devices.list().find(({ name }) => name === "port92")!.device;
  const opened = port.save!();
  port.restore!({ ...(opened as object), control: 0 });
  assert.deepEqual([await byte(0x500n), await byte(0x10_0500n), await byte(0x20_0500n)], [1, 1, 3]);
  port.restore!(opened);
  assert.equal(await byte(0x10_0500n), 2);
  port.restore!({ ...(opened as object), control: 0 });
  port.reset!();
  assert.equal(await byte(0x10_0500n), 2);
});
