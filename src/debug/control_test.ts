import assert from "node:assert/strict";
import { Bus } from "../vm/bus.ts";
import { createFake } from "../vm/fake.ts";
import { createDebugger } from "./debugger.ts";

const CLOCK = { pause() {}, resume() {}, poll: () => 0 };

Deno.test("a hypervisor that refuses even the registers rejects the step, and the machine is not left running", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const vcpu = backend.vcpus[0];
  let refuses = true;
  const { registers } = vcpu;
  vcpu.registers = () => {
    if (refuses) throw new Error("no registers today");
    return registers.call(vcpu);
  };
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control } = createDebugger(backend, buses, CLOCK);
  await assert.rejects(control.step(), /no registers today/);
  assert.equal(control.state, "paused");
  refuses = false;
  await control.step();
  assert.equal(control.state, "paused");
  await control.close();
  await backend.close();
});

Deno.test("a condition whose promise never settles is a fault, a pause does not wait for it, and the guest goes on", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(backend, buses, CLOCK, { patienceMs: 50 });
  // nop; nop; cli; hlt
  await memory.write(0x1000n, Uint8Array.of(0x90, 0x90, 0xfa, 0xf4));
  await vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n });
  let asked = 0;
  const bp = await breakpoints.add(0x1001n, {
    condition: () => {
      if (asked++ > 0) setTimeout(() => void control.pause(), 5);
      return new Promise<boolean>(() => {});
    },
  });
  const stop = await control.continue();
  assert.deepEqual([stop.kind, stop.rip], ["fault", 0x1001n]);
  assert.match("reason" in stop ? stop.reason : "", /condition of breakpoint 1 did not answer within 0.05 s/);
  await vcpus[0].setRegisters({ rip: 0x1000n });
  assert.equal((await control.continue()).kind, "pause");
  await bp.remove();
  assert.equal((await control.continue()).kind, "halt");
  await control.close();
  await backend.close();
});

Deno.test("a backend that is slow is not ended in the middle of a step, for which nobody but it is to blame; `each` is", async () => {
  const fake = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const backend = Object.assign(fake, { slow: true });
  const [vcpu] = backend.vcpus;
  const { step } = vcpu;
  vcpu.step = (options) => {
    const end = performance.now() + 2100;
    while (performance.now() < end);
    return step.call(vcpu, options);
  };
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, memory, vcpus } = createDebugger(backend, buses, CLOCK);
  await memory.write(0x1000n, Uint8Array.of(0x90, 0x90, 0x90));
  await vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n });
  const stop = await control.step({ each: () => {} });
  assert.deepEqual([stop.kind, stop.rip], ["step", 0x1001n]);
  const stuck = await control.step({
    each: () => {
      for (;;);
    },
  });
  assert.match("reason" in stuck ? stuck.reason : "", /`each` of step\(\) did not return within 2 s/);
  await control.close();
  await backend.close();
});

Deno.test("a vCPU that was stopped before a breakpoint for another's sake meets it; one that was seen there does not again", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 2, irqchip: false, pit: false });
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(backend, buses, CLOCK);
  // nop; jmp back, for the first; nop; cli; hlt for the second
  await memory.write(0x1000n, Uint8Array.of(0x90, 0xeb, 0xfd));
  await memory.write(0x2000n, Uint8Array.of(0x90, 0xfa, 0xf4));
  await vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n });
  await vcpus[1].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x2000n });
  // Where the second one stands when the first one stops.
  assert.equal((await control.step({ vcpu: 0 })).rip, 0x1001n);
  const theirs = await breakpoints.add(0x2000n);
  let stop = await control.continue();
  assert.deepEqual([stop.kind, stop.vcpu.index, stop.rip, theirs.hits], ["breakpoint", 1, 0x2000n, 1]);
  // A stop of another one in between does not make it stand there anew.
  await control.step({ vcpu: 0 });
  stop = await control.continue();
  assert.deepEqual([stop.kind, theirs.hits], ["halt", 1]);
  assert.equal((await vcpus[1].registers()).rip, 0x2003n);
  await control.close();
  await backend.close();
});

Deno.test("some of several vCPUs run by turns, the rest stand; one that sleeps loses its turn", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 4, irqchip: false, pit: false });
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(backend, buses, CLOCK);
  // inc ax; cmp ax, 1000; jne 0x1000; cli; hlt, and for the last one hlt at once, interrupts on.
  await memory.write(0x1000n, Uint8Array.of(0x40, 0x3d, 0xe8, 0x03, 0x75, 0xfa, 0xfa, 0xf4));
  await memory.write(0x2000n, Uint8Array.of(0xf4, 0xeb, 0xfd));
  for (const vcpu of vcpus) {
    const rip = vcpu.index === 3 ? 0x2000n : 0x1000n;
    await vcpu.setRegisters({ cs: 0n, cs_base: 0n, rip, rax: 0n, rflags: 0x202n });
  }
  const rax = async (index: number) => (await vcpus[index].registers()).rax;

  let stop = await control.step({ vcpu: [0, 2], count: 6 });
  assert.deepEqual([stop.kind, stop.vcpu.index], ["step", 0]);
  assert.deepEqual([await rax(0), await rax(1), await rax(2)], [2n, 0n, 2n]);

  const met = await breakpoints.add(0x1006n, { vcpu: 2 });
  stop = await control.step({ vcpu: [3, 0, 2], count: Number.MAX_SAFE_INTEGER, interrupts: true });
  // Behind the one that stopped last it is the other's turn.
  assert.deepEqual([stop.kind, stop.vcpu.index, met.hits], ["breakpoint", 2, 1]);
  stop = await control.step({ vcpu: [0, 3], count: Number.MAX_SAFE_INTEGER, interrupts: true });
  assert.deepEqual([stop.kind, stop.vcpu.index], ["halt", 0]);
  assert.deepEqual([await rax(1), await rax(2)], [0n, 1000n]);
  assert.equal((await vcpus[3].registers()).rip, 0x2001n);

  assert.equal((await control.step({ vcpu: [1, 3], count: Number.MAX_SAFE_INTEGER })).kind, "halt");
  assert.equal(await rax(1), 1000n);

  await assert.rejects(control.step({ vcpu: [0, 9] }), /there is no vCPU 0,9/);
  await assert.rejects(control.step({ vcpu: [0, 1], each: () => true }), /one vCPU/);
  await control.close();
  await backend.close();
});

/** Stops that are asked for one behind the other, until a timer or `most` of them say that it is enough. */
async function untilTimer(most: number, next: () => Promise<unknown>): Promise<number> {
  let rang = false;
  const timer = setTimeout(() => rang = true, 10);
  let asked = 0;
  for (; asked < most && !rang; asked++) await next();
  clearTimeout(timer);
  return asked;
}

Deno.test("a loop that awaits one step, run, read or write after another leaves timers their turn", async () => {
  const backend = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
  const { control, breakpoints, memory, vcpus } = createDebugger(backend, buses, CLOCK);
  // inc ax; jmp to it; cli; hlt
  await memory.write(0x1000n, Uint8Array.of(0x40, 0xeb, 0xfd, 0xfa, 0xf4));
  const most = 100_000;
  await vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1003n });
  assert.ok(await untilTimer(most, () => control.step()) < most, "steps of a vCPU that sleeps for ever");
  await vcpus[0].setRegisters({ rip: 0x1000n });
  assert.ok(await untilTimer(most, () => control.step()) < most, "single steps");
  assert.ok(await untilTimer(most, () => control.step(2)) < most, "steps by two");
  assert.ok(await untilTimer(most, () => memory.read(0x1000n, 4)) < most, "reads");
  assert.ok(await untilTimer(most, () => memory.write(0x2000n, [1])) < most, "writes");
  assert.ok(await untilTimer(most, () => vcpus[0].memory.translate(0x1000n)) < most, "translations");
  await breakpoints.add(0x1000n);
  assert.ok(await untilTimer(most, () => control.continue()) < most, "runs to a breakpoint");
  await control.close();
  await backend.close();
});
