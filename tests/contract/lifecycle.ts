import assert from "node:assert/strict";
import {
  type CapabilityName,
  elf,
  flat,
  gpa,
  gva,
  HvshError,
  InputError,
  type Machine,
  StateError,
  UnsupportedError,
} from "../../mod.ts";
import {
  assertHelpful,
  boot,
  type Case,
  CODE,
  type Context,
  DATA,
  ended,
  group,
  HOLE,
  MEMORY,
  refused,
  until,
} from "./case.ts";

const IDLE = "90 90 fa f4";

/** Resets the guest; false where no guest of its kind can be: then that is refused. */
async function reset(c: Context, vm: Machine): Promise<boolean> {
  if (!c.backend.lacks?.includes("reset")) {
    await vm.reset();
    return true;
  }
  const error = await refused(UnsupportedError, () => vm.reset());
  assert.equal(error.feature, "reset");
  return false;
}

/** Closing and resetting. */
export const CLOSE_CASES: readonly Case[] = group("close", {
  "may be done twice, and at once": async (c) => {
    const vm = await c.guest({ code: IDLE });
    await Promise.all([vm.close(), vm.close()]);
    await vm.close();
    assert.equal(vm.state, "closed");
  },

  "ends a running guest; its continue tells so": async (c) => {
    const vm = await c.guest({ code: "ebfe" });
    const running = vm.continue();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await vm.close();
    assert.equal((await running).kind, "gone");
    assert.equal(vm.state, "closed");
  },

  "is what leaving the scope does": async (c) => {
    let outside: Machine;
    {
      await using vm = await c.open({ memory: MEMORY, boot: boot(IDLE, c.backend) });
      outside = vm;
      await vm.step();
    }
    assert.equal(outside.state, "closed");
  },

  "with breakpoints and devices in takes them out": async (c) => {
    let detached = 0;
    const device = { name: "d", ports: { start: 0x777, length: 1 }, detach: () => void detached++ };
    const vm = await c.guest({ code: IDLE, devices: [device] });
    await vm.breakpoints.add(gva(CODE + 1));
    await until(vm, "breakpoint");
    await vm.close();
    assert.equal(detached, 1);
  },

  "makes every later call a StateError": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const bp = await vm.breakpoints.add(gva(CODE));
    const [vcpu] = vm.vcpus;
    await vm.close();
    for (
      const call of [
        () => vm.continue(),
        () => vm.step(),
        () => vm.pause(),
        () => vm.reset(),
        () => vm.memory.read(gpa(CODE), 1),
        () => vm.memory.write(gpa(CODE), [1]),
        () => vm.memory.search("x"),
        () => vcpu.registers(),
        () => vcpu.setRegisters({ rax: 1n }),
        () => vcpu.memory.read(gva(CODE), 1),
        () => vcpu.msrs(),
        () => vm.breakpoints.add(gva(CODE)),
        () => vm.breakpoints.onAccess({ space: "port", start: 1 }),
        () => vm.devices.add({ name: "late", ports: { start: 0x700, length: 1 } }),
      ]
    ) {
      const error = await refused(StateError, call).catch((why) => assert.fail(`${call}: ${why.message}`));
      assert.equal(error.state, "closed", String(call));
    }
    await bp.remove();
  },

  "reset goes back to the start: registers and image": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const start = await vm.vcpus[0].registers();
    await vm.memory.write(gpa(CODE), [0xfe, 0xc0]);
    await vm.vcpus[0].setRegisters({ rax: 0x77n });
    await vm.step();
    if (!await reset(c, vm)) {
      const { rip, rax } = await vm.vcpus[0].registers();
      assert.deepEqual([rip, rax & 0xffn], [BigInt(CODE + 2), 0x78n], "a refused one changes nothing");
      assert.deepEqual([...await vm.memory.read(gpa(CODE), 2)], [0xfe, 0xc0]);
      await ended(c, vm);
      return;
    }
    const now = await vm.vcpus[0].registers();
    assert.deepEqual([now.rip, now.cs_base, now.cr0], [start.rip, start.cs_base, start.cr0]);
    assert.deepEqual([...await vm.memory.read(gpa(CODE), 2)], [0x90, 0x90]);
    assert.equal(vm.lastStop, undefined);
    assert.equal((await ended(c, vm)).rip, BigInt(CODE + 4));
  },

  "breakpoints stay over a reset": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const bp = await vm.breakpoints.add(gva(CODE + 1));
    await until(vm, "breakpoint");
    if (await reset(c, vm)) {
      assert.equal((await until(vm, "breakpoint")).breakpoint, bp);
      assert.equal(bp.hits, 2);
    } else {
      assert.deepEqual([...vm.breakpoints], [bp]);
      await vm.vcpus[0].setRegisters({ rip: BigInt(CODE) });
      assert.equal((await until(vm, "breakpoint")).breakpoint, bp, "one that is refused takes none out");
    }
    assert.deepEqual([...await vm.memory.read(gpa(CODE), 4)], [0x90, 0x90, 0xfa, 0xf4]);
  },
});

/** Calls that make no sense, and what they are answered with. */
export const ERROR_CASES: readonly Case[] = group("errors", {
  "say in a sentence what was wrong and what to do": async (c) => {
    const vm = await c.guest({ code: IDLE });
    const [vcpu] = vm.vcpus;
    const calls: (() => unknown)[] = [
      () => vm.memory.read(gpa(c.backend.hole ?? HOLE), 1),
      () => vm.memory.read(gpa(CODE), -1),
      () => vm.memory.read(gpa(CODE), 1.5),
      () => vm.memory.read(gva(CODE) as never, 1),
      () => vm.memory.readUint(gpa(CODE), 9),
      () => vm.memory.fill(gpa(CODE), 4, new Uint8Array(0)),
      () => vm.memory.search(new Uint8Array(0)),
      () => vcpu.setRegisters({ nonsense: 1n } as never),
      () => vm.step({ vcpu: 9 }),
      () => vm.breakpoints.add(gva(CODE), { ignore: 0.5 }),
      () => vm.breakpoints.add(gva(CODE), { vcpu: -1 }),
      () => vm.breakpoints.onAccess({ space: "port", start: 0x10000 }),
      () => vm.devices.add({ name: "nowhere" }),
      () => vm.interrupts.set(99, true),
      () => vm.require("no such thing"),
    ];
    for (const call of calls) {
      let error: unknown;
      try {
        await call();
      } catch (e) {
        error = e;
      }
      try {
        assertHelpful(error);
      } catch (why) {
        throw new assert.AssertionError({ message: `${call}: ${why instanceof Error ? why.message : why}` });
      }
    }
  },

  "in options and images are found at open": async (c) => {
    const ok = boot(IDLE, c.backend);
    for (const memory of [0, -4096, 4097, NaN, 2 ** 52]) {
      await refused(HvshError, () => c.open({ memory, boot: ok }));
    }
    for (const cpus of [0, -1, 1.5, 1e6]) {
      await refused(HvshError, () => c.open({ memory: MEMORY, cpus, boot: ok }));
    }
    const image = c.backend.boot === undefined ? flat : elf;
    await refused(InputError, () => c.open({ memory: MEMORY, boot: image(new Uint8Array(0)) }));
    await refused(InputError, () => c.open({ memory: MEMORY, boot: image("/no/such/file") }));
    await refused(
      c.backend.boot === undefined ? InputError : UnsupportedError,
      () => c.open({ memory: MEMORY, boot: flat(new Uint8Array(MEMORY), { at: DATA }) }),
    );
    await refused(InputError, () => c.open({ memory: MEMORY, mem: 5 } as never));
    await refused(InputError, () => c.open({ memory: MEMORY, boot: "bios.bin" as never }));
    const clash = { name: "clash", ports: { start: 0x3f8, length: 1 } };
    // Where COM1 is not hvsh's they are each other's. A backend that takes no devices says that instead.
    const devices = [clash, ...(c.backend.foreign ? [{ ...clash, name: "another" }] : [])];
    await refused(HvshError, () => c.open({ memory: MEMORY, boot: ok, devices }));
  },

  "of capabilities carry the reason": async (c) => {
    const vm = await c.guest({ code: IDLE });
    for (const name of c.backend.lacks ?? []) {
      assert.equal(vm.capabilities.get(name)?.usable, false, `${name} is not lacking`);
    }
    for (const [name, capability] of vm.capabilities) {
      if (capability.usable) {
        vm.require(name);
        continue;
      }
      assert.ok((capability.reason?.length ?? 0) > 5, `${name}: no reason`);
      const error = await refused(UnsupportedError, () => vm.require(name));
      assert.equal(error.feature, name);
      const use = USES[name as CapabilityName];
      if (use !== undefined) {
        await refused(UnsupportedError, () => use(vm)).catch((why) => assert.fail(`${name}: ${why.message}`));
      }
    }
  },
});

/** What is refused without a capability. */
const USES: Partial<Record<CapabilityName, (vm: Machine) => unknown>> = {
  "devices": (vm) => vm.devices.add({ name: "late", ports: { start: 0x700, length: 1 } }),
  "interrupts": (vm) => vm.interrupts.set(1, true),
  "lapic": (vm) => vm.vcpus[0].lapic(),
  "nmi": (vm) => vm.interrupts.nmi(),
  "reset": (vm) => vm.reset(),
};
