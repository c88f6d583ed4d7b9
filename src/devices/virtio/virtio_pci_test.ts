import assert from "node:assert/strict";
import { anySequence, carry, refusesForeign } from "../device_contract.ts";
import { MockGuest } from "../mock_guest.ts";
import { PciHost } from "../pci/pci_host.ts";
import { Piix3 } from "../pci/piix3.ts";
import { VirtioEntropy } from "./entropy.ts";
import { MockDriver } from "./mock_driver.ts";
import { MockPci } from "./mock_transport.ts";
import { FEATURE, STATUS } from "./spec.ts";
import { VirtioPci } from "./virtio_pci.ts";
import type { VirtioType } from "./virtio_type.ts";

const SLOT = 3;
const BARS = [0xe000_0000, 0xe001_0000];
const MSIX = BigInt(BARS[1]);
const MSIX_ENABLE = 0x8000;

function machine(type: VirtioType = new VirtioEntropy(), features = 0n) {
  const guest = new MockGuest([], 0x40000);
  const isa = new Piix3({ configured: true });
  const host = guest.add(new PciHost({ router: isa }));
  guest.add(isa);
  const device = new VirtioPci(type);
  host.plug({ slot: SLOT }, device);
  guest.add(device);
  const pci = new MockPci(guest, SLOT, BARS);
  // INTA# of slot 3 is PIRQC.
  return {
    guest,
    device,
    pci,
    line: guest.line(11),
    driver: new MockDriver(guest, { transport: pci, features }),
  };
}

/** Switches MSI-X on, with vector 0 for configuration and 1 for queue 0. */
function useMsix({ guest, pci }: ReturnType<typeof machine>): void {
  for (const vector of [0, 1]) {
    [0xfee0_0000, 0, 0x40 + vector, 0].forEach((word, i) =>
      guest.store(MSIX + BigInt(16 * vector + 4 * i), word, 4)
    );
  }
  pci.setConfig(pci.msix + 2, MSIX_ENABLE, 2);
  pci.set(0x10, 0, 2);
  pci.set(0x16, 0, 2);
  pci.set(0x1a, 1, 2);
}

Deno.test("virtio-pci: identity, and capabilities for every part", () => {
  const { pci } = machine();
  assert.deepEqual([pci.config(0, 4), pci.config(8, 1)], [0x1044_1af4, 1]);
  assert.equal(pci.config(6, 2) & 0x10, 0x10, "a capabilities list");
  assert.deepEqual([...pci.parts.keys()], [1, 3, 4, 2]);
  assert.equal(pci.config(pci.msix + 2, 2), 1, "two vectors");
  assert.equal(
    pci.parts.get(4)?.length,
    0x1000,
    "room for fields that a driver knows and the device has not",
  );
  assert.equal(pci.guest.load(pci.part(4) + 0xffcn, 4), 0);
});

for (const [name, features] of [["split", 0n], ["packed", FEATURE.RING_PACKED]] as const) {
  Deno.test(`virtio-pci: a request by a ${name} ring, told by the pin`, () => {
    let next = 0;
    const { guest, pci, driver, line } = machine(
      new VirtioEntropy({ source: (into) => into.forEach((_, i) => into[i] = next++) }),
      features,
    );
    driver.start(1);
    assert.deepEqual([...driver.ask(0, [3, 2])], [0, 1, 2, 3, 4]);
    assert.deepEqual([line.level, pci.config(6, 2) & 8], [true, 8]);
    pci.setConfig(4, 0x0406, 2); // INTx disable
    assert.deepEqual([line.level, pci.config(6, 2) & 8], [false, 8]);
    pci.setConfig(4, 0x0006, 2);
    assert.equal(line.level, true);
    assert.deepEqual([guest.load(pci.part(3), 1), guest.load(pci.part(3), 1)], [1, 0]);
    assert.deepEqual([line.level, pci.config(6, 2) & 8], [false, 0]);
  });
}

Deno.test("virtio-pci: with MSI-X each queue has its vector, and the pin is quiet", () => {
  const m = machine();
  const { guest, pci, driver, line } = m;
  driver.start(1);
  driver.ask(0, [4]);
  assert.equal(line.level, true);
  useMsix(m);
  assert.equal(line.level, false, "it was asserted, and MSI-X came on");
  guest.load(pci.part(3), 1);
  driver.ask(0, [4]);
  assert.deepEqual(guest.messages, [[0xfee0_0000, 0x41]]);
  assert.deepEqual([line.level, guest.load(pci.part(3), 1)], [false, 0]);
  guest.store(MSIX + 28n, 1, 4); // vector 1 is masked
  driver.ask(0, [4]);
  assert.equal(guest.messages.length, 1);
  guest.store(MSIX + 28n, 0, 4);
  assert.equal(guest.messages.length, 2);
});

Deno.test("virtio-pci: a change of configuration has its vector and its bit", () => {
  let change = () => {};
  const m = machine({
    name: "config",
    id: 42,
    queues: [8],
    request: () => {},
    start: (link) => change = link.configChanged,
  });
  m.driver.start(1);
  useMsix(m);
  change();
  assert.deepEqual(m.guest.messages, [[0xfee0_0000, 0x40]]);
  assert.deepEqual([m.pci.get(0x15, 1), m.guest.load(m.pci.part(3), 1)], [1, 2]);
});

Deno.test("virtio-pci: a vector that is not there can't be mapped, and a reset unmaps them all", () => {
  const m = machine();
  useMsix(m);
  assert.deepEqual([m.pci.get(0x10, 2), m.pci.get(0x1a, 2)], [0, 1]);
  m.pci.set(0x1a, 2, 2);
  assert.equal(m.pci.get(0x1a, 2), 0xffff);
  m.pci.status = 0;
  assert.deepEqual([m.pci.get(0x10, 2), m.pci.get(0x1a, 2)], [0xffff, 0xffff]);
  m.driver.start(1);
  m.driver.ask(0, [4]);
  assert.deepEqual(m.guest.messages, []);
});

Deno.test("virtio-pci: a message to memory is a write there, one to nowhere is lost", () => {
  const m = machine();
  m.driver.start(1);
  useMsix(m);
  m.guest.store(MSIX + 16n, 0x3_0000, 4);
  m.driver.ask(0, [4]);
  assert.equal(m.guest.memory[0x3_0000], 0x41);
  m.guest.store(MSIX + 16n, 0x7000_0000, 4);
  m.driver.ask(0, [4]);
  assert.deepEqual(m.guest.messages, []);
});

Deno.test("virtio-pci: a function that is no bus master reaches no memory", () => {
  const { pci, driver, device } = machine();
  driver.start(1);
  driver.offer(0, [4]);
  pci.setConfig(4, 0x0002, 2);
  driver.kick(0);
  assert.equal(driver.status & STATUS.DEVICE_NEEDS_RESET, STATUS.DEVICE_NEEDS_RESET);
  assert.match(device.virtio.fault ?? "", /bus master/);
});

Deno.test("virtio-pci: queues that are not there read as such", () => {
  const { pci } = machine();
  assert.deepEqual([pci.get(0x12, 2), pci.get(0x18, 2), pci.get(0x1e, 2)], [1, 64, 0]);
  pci.set(0x16, 1, 2);
  pci.set(0x1a, 0, 2);
  pci.set(0x1c, 1, 2);
  assert.deepEqual([pci.get(0x18, 2), pci.get(0x1a, 2), pci.get(0x1c, 2), pci.get(0x20, 4)], [
    0,
    0xffff,
    0,
    0,
  ]);
});

Deno.test("virtio-pci: registers are written in their own width alone; narrower reads give their low bytes", () => {
  const { pci } = machine();
  pci.set(0x14, STATUS.ACKNOWLEDGE, 4);
  assert.equal(pci.status, 0);
  assert.deepEqual([pci.get(0x12, 4), pci.get(0x12, 1), pci.get(0x13, 1)], [0, 1, 0]);
  pci.set(0x00, 1, 4);
  assert.deepEqual([pci.get(0x04, 2) & 1, pci.get(0x06, 2)], [1, 0], "VERSION_1");
});

Deno.test("virtio-pci: base address registers are moved, and configuration space has a window on them", () => {
  const { guest, pci } = machine();
  pci.status = STATUS.ACKNOWLEDGE;
  pci.setConfig(0x10, 0xf000_0000, 4);
  assert.equal(guest.load(0xf000_0014n, 1), STATUS.ACKNOWLEDGE);
  assert.equal(guest.load(BigInt(BARS[0]) + 0x14n, 1), 0xff);
  pci.setConfig(4, 0x0004, 2); // memory off: the window works all the same (4.1.4.9)
  let at = pci.config(0x34, 1);
  while (pci.config(at + 3, 1) !== 5) at = pci.config(at + 1, 1);
  const window = (offset: number, length: number) => {
    pci.setConfig(at + 4, 0, 1);
    pci.setConfig(at + 8, offset, 4);
    pci.setConfig(at + 12, length, 4);
  };
  window(0x14, 1);
  assert.equal(pci.config(at + 16, 1), STATUS.ACKNOWLEDGE);
  pci.setConfig(at + 16, STATUS.ACKNOWLEDGE | STATUS.DRIVER, 1);
  assert.equal(pci.config(at + 16, 4), 3);
  window(0x15, 2); // not aligned: no access
  pci.setConfig(at + 16, 0, 4);
  window(0x14, 1);
  assert.equal(pci.config(at + 16, 1), 3);
});

Deno.test("virtio-pci: any sequence of accesses, resets and saves", () => {
  anySequence(() => {
    const { guest, device } = machine();
    return { guest, device };
  }, { seed: 4 });
});

Deno.test("virtio-pci: a state is carried, a foreign one refused", () => {
  const m = machine();
  m.driver.start(1);
  useMsix(m);
  m.driver.ask(0, [16]);
  carry(m.device, machine().device);
  refusesForeign(m.device);
});
