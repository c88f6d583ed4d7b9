import assert from "node:assert/strict";
import { HostError } from "../host/error.ts";
import { InputError, StateError, UnsupportedError } from "../vm/errors.ts";
import { kvmHost } from "./hosts.ts";
import { openKvm } from "./open.ts";
import { KvmSystem, openRefused } from "./system.ts";
import { CAP } from "./abi.ts";
import { expectExit, guest, kvmTest, real } from "./test_guest.ts";

const SMALL = { memory: 1 << 20, cpus: 1, irqchip: false, pit: false };

/** The reason and the remedy for a device path. */
function refused(device: string): [string, string] {
  const host = kvmHost(device);
  assert.ok(!host.usable);
  assert.throws(() => openKvm({ ...SMALL, device }), (error: unknown) => {
    assert.ok(error instanceof UnsupportedError);
    assert.equal(error.feature, "kvm");
    assert.deepEqual([error.reason, error.remedy], [host.reason, host.remedy]);
    return true;
  });
  return [host.reason, host.remedy];
}

Deno.test("no device, a directory, a file, another device: each has its reason and remedy", async () => {
  const [reason, remedy] = refused("/nowhere/kvm");
  assert.equal(reason, "there is no /nowhere/kvm");
  assert.match(remedy, /modprobe/);
  assert.match(refused("/tmp")[0], /directory/);
  assert.match(refused("/dev/null")[0], /not KVM's device/);
  const file = await Deno.makeTempFile();
  try {
    assert.match(refused(file)[0], /not KVM's device/);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("what opening the device can fail with has a reason and a remedy", () => {
  const verdict = (errno: number) => {
    const found = openRefused("/dev/kvm", new HostError("open /dev/kvm", errno));
    assert.ok(!found.usable && found.remedy.length > 0);
    return found;
  };
  assert.match(verdict(13).reason, /may not open/);
  assert.match(verdict(13).remedy, /usermod -aG kvm/);
  assert.match(verdict(1).reason, /may not open/);
  assert.match(verdict(6).reason, /no driver answers/);
  assert.match(verdict(19).remedy, /modprobe/);
  assert.match(verdict(24).reason, /EMFILE/);
  assert.match(verdict(24).remedy, /ulimit/);
});

kvmTest("a usable host says which device it is", [], () => {
  const host = kvmHost();
  assert.ok(host.usable && host.detail.includes("/dev/kvm"));
});

kvmTest("options that make no sense are refused before anything is made", [], () => {
  const bad = (options: Partial<typeof SMALL>) =>
    assert.throws(
      () => openKvm({ ...SMALL, ...options }),
      (e: unknown) => e instanceof InputError && e.remedy !== undefined,
    );
  bad({ memory: 0 });
  bad({ memory: 12345 });
  bad({ memory: 2 ** 52 });
  bad({ cpus: 0 });
  bad({ cpus: 1.5 });
  bad({ cpus: 256, irqchip: true });
  bad({ cpus: 2 });
  bad({ pit: true });
});

kvmTest("closing is idempotent, and afterwards everything says that the machine is closed", [], () => {
  const machine = guest();
  const vcpu = real(machine, [0xe4, 0x10]);
  const exit = expectExit(vcpu, "io-in");
  const view = machine.memory.view(0n, 16);
  machine.close();
  machine.close();
  assert.equal(exit.data.length, 0);
  assert.equal(view.length, 0);
  const calls = [
    () => vcpu.run(),
    () => vcpu.step(),
    () => vcpu.registers(),
    () => vcpu.setRegisters({ rax: 1n }),
    () => vcpu.idle(),
    () => vcpu.readMsr(0x10),
    () => vcpu.writeMsr(0x10, 0n),
    () => vcpu.xsave(),
    () => vcpu.events(),
    () => vcpu.setEvents({}),
    () => vcpu.trapMsrs([1]),
    () => machine.reset(),
    () => machine.memory.read(0n, new Uint8Array(1)),
    () => machine.interrupts.nmi(0),
    () => machine.memory.protect(0n, 1, true),
  ];
  for (const call of calls) {
    assert.throws(call, (e: unknown) => e instanceof StateError && e.state === "closed", String(call));
  }
  vcpu.kick();
});

kvmTest("a snapshot outlives its machine, but for what was never read of it", [], () => {
  const machine = guest();
  const registers = machine.vcpus[0].registers();
  machine.close();
  assert.equal(registers.rip, 0xfff0n);
  assert.throws(() => registers.dr7, StateError);
});

kvmTest("several machines live beside each other", [], () => {
  using first = guest();
  using second = guest();
  real(first, [0xe6, 0x11]);
  real(second, [0xe6, 0x22]);
  assert.equal(expectExit(first.vcpus[0], "io-out").port, 0x11);
  assert.equal(expectExit(second.vcpus[0], "io-out").port, 0x22);
  first.close();
  assert.equal(expectExit(real(second, [0xe6, 0x33]), "io-out").port, 0x33);
});

kvmTest("capabilities are found once and name what is missing with a remedy", [], () => {
  using machine = guest();
  const { capabilities } = machine;
  assert.equal(capabilities, guestCapabilities());
  for (const [name, capability] of capabilities) {
    assert.ok(capability.how.length > 0, name);
    if (!capability.usable) assert.ok(capability.reason && capability.remedy, name);
  }
  for (const name of ["devices", "port-exits", "breakpoint-out", "breakpoint-hlt"]) {
    assert.equal(capabilities.get(name)?.usable, true, name);
  }
});

/** The capabilities of another machine on this host. */
function guestCapabilities() {
  using machine = guest();
  return machine.capabilities;
}

kvmTest("the system tells its CPUID leaves and MSRs", [], () => {
  using system = KvmSystem.open();
  const leaves = system.supportedCpuid();
  assert.ok(leaves.some((leaf) => leaf.function === 0) && leaves.some((leaf) => leaf.function === 1));
  assert.ok(system.msrIndices().includes(0x10));
  assert.ok(system.capability(CAP.USER_MEMORY) > 0);
  assert.equal(system.capability(0xffff), 0);
});
