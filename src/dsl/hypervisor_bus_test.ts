import assert from "node:assert/strict";
import { HvshError } from "../vm/errors.ts";
import type { Backend, BackendPci } from "../vm/backend.ts";
import { createFake } from "../vm/fake.ts";
import { GuestMachine } from "./machine.ts";
import { slotsOf } from "./qemu_slots.ts";
import { virtioRng } from "./virtio.ts";

/** A machine on the interpreter whose hypervisor has a PCI bus. */
function machine(taken: BackendPci["taken"], configured = false) {
  const told: string[] = [];
  const backend = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false }) as Backend;
  const pci: BackendPci = {
    configured,
    taken,
    claim: (slot) => void told.push(`claim ${slot}`),
    release: (slot) => void told.push(`release ${slot}`),
    line: () => ({ raise: () => void told.push("raise"), lower: () => void told.push("lower") }),
  };
  return { told, vm: new GuestMachine({ backend: Object.assign(backend, { pci }) }) };
}

const PCI = { transport: "pci" } as const;

Deno.test("hypervisor's bus: functions of ours come and go, and are found behind its ports", async () => {
  const { told, vm } = machine(() => Promise.resolve(new Set([0, 1, 2, 3])));
  await using _ = vm;
  const [one, two] = await Promise.all([
    vm.devices.add(virtioRng({ ...PCI, name: "one" })),
    vm.devices.add(virtioRng({ ...PCI, name: "two", slot: 7 })),
  ]);
  assert.deepEqual(told.filter((what) => what !== "lower"), ["claim 31", "claim 7"]);
  assert.deepEqual(vm.devices.list().map(({ name }) => name), ["pci", "one", "two"]);
  await vm.writePort(0xcf8, 4, 0x8000_f800);
  assert.equal(await vm.readPort(0xcfc, 4), 0x1044_1af4n);
  await vm.writePort(0xcf8, 4, 0x8000_3800);
  assert.equal(await vm.readPort(0xcfc, 4), 0x1044_1af4n);
  told.length = 0;
  await one.remove();
  await two.remove();
  assert.deepEqual(told.filter((what) => what !== "lower"), ["release 31", "release 7"]);
  assert.equal(await vm.readPort(0xcfc, 4), 0xffff_ffffn);
});

Deno.test("hypervisor's bus: a slot that is taken is refused, and nothing is left of it", async () => {
  const { told, vm } = machine(() => Promise.resolve(new Set([0, 1, 2, 3])));
  await using _ = vm;
  await assert.rejects(
    vm.devices.add(virtioRng({ ...PCI, slot: 3 })),
    /PCI slot 3: the guest's device model/,
  );
  assert.deepEqual([told, vm.devices.list()], [[], []]);
});

Deno.test("hypervisor's bus: where nobody tells what is taken, a function has to name its slot", async () => {
  const silent = () => Promise.reject(new HvshError("nobody answers"));
  const { told, vm } = machine(silent);
  await using _ = vm;
  await assert.rejects(vm.devices.add(virtioRng(PCI)), /nobody answers/);
  assert.deepEqual(vm.devices.list(), []);
  await vm.devices.add(virtioRng({ ...PCI, slot: 20 }));
  assert.equal(told[0], "claim 20");
});

Deno.test("hypervisor's bus: without firmware functions have their addresses from the start", async () => {
  for (const configured of [true, false]) {
    const { vm } = machine(() => Promise.resolve(new Set<number>()), configured);
    await using _ = vm;
    const { ranges } = await vm.devices.add(virtioRng(PCI));
    assert.equal(ranges.length, configured ? 2 : 0);
  }
});

Deno.test("hypervisor's bus: what QEMU's query-pci tells of bus 0", () => {
  const answer = [
    { bus: 0, devices: [{ slot: 0 }, { slot: 1, function: 0 }, { slot: 1, function: 3 }, { slot: 4 }] },
    { bus: 1, devices: [{ slot: 9 }] },
  ];
  assert.deepEqual([...slotsOf(answer)], [0, 1, 4]);
});
