/** Several vCPUs at the same time, without threads: vCPUs of the interpreter that come back together. */
import assert from "node:assert/strict";
import { GuestMachine } from "../dsl/machine.ts";
import { gpa, gva } from "./address.ts";
import type { Arrival, Backend, BackendVcpu, ParallelVcpus } from "./backend.ts";
import { createFake } from "./fake.ts";
import { InputError, UnsupportedError } from "./errors.ts";
import { ParallelRun } from "./parallel_run.ts";
import type { RegisterValues } from "./registers.ts";
import type { Stop } from "./stop.ts";

/**
 * Each vCPU that is to run does so when somebody looks, and on `hold` all do once more: whatever two vCPUs can meet
 * at once they do meet at once.
 */
class AtOnce implements ParallelVcpus {
  readonly threaded = true;
  readonly #running = new Set<BackendVcpu>();
  readonly #back: Arrival[] = [];
  #turn = 0;

  start(vcpu: BackendVcpu): void {
    assert.ok(!this.#running.has(vcpu), `vCPU ${vcpu.index} runs already`);
    assert.ok(!this.#back.some((b) => b.vcpu === vcpu), `vCPU ${vcpu.index} has an exit that nobody took`);
    this.#running.add(vcpu);
  }

  /** How often `next` is ended from outside, as by a time limit. */
  endings = 0;

  next(): Arrival | undefined {
    if (this.endings-- > 0) throw new Error("ended");
    if (this.#back.length === 0) this.hold();
    return this.#back.shift();
  }

  arrival(): Promise<void> {
    return Promise.resolve();
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  wake(): void {}

  hold(): void {
    // Another one is the first each time, as whoever comes first is told first.
    this.#turn++;
    const order = [...this.#running].sort((a, b) => (a.index + this.#turn) % 2 - (b.index + this.#turn) % 2);
    for (const vcpu of order) {
      this.#running.delete(vcpu);
      const exit = vcpu.run();
      assert.ok(!(exit instanceof Promise));
      this.#back.push({ vcpu, exit });
    }
  }
}

/** A guest whose vCPUs all stand at 0x1000 in real mode. */
async function guest(code: readonly number[], cpus = 2, parallel = new AtOnce()): Promise<GuestMachine> {
  const fake = createFake({ memory: 1 << 20, cpus, irqchip: false, pit: false });
  const backend: Backend = { ...fake, parallel };
  const vm = new GuestMachine({ backend });
  await vm.memory.write(gpa(0x1000n), Uint8Array.from(code));
  const start: RegisterValues = { cs: 0n, cs_base: 0n, rip: 0x1000n, rflags: 2n, ds: 0n, ds_base: 0n };
  for (const vcpu of vm.vcpus) await vcpu.setRegisters(start);
  return vm;
}

const byVcpu = (a: Stop, b: Stop) => a.vcpu.index - b.vcpu.index;

const LIMIT = { timeoutMs: 20_000 };

Deno.test("a breakpoint that two vCPUs meet at once is told for each, once a round", async () => {
  await using vm = await guest([0x40, 0xeb, 0xfd]); // inc ax; jmp 0x1000
  for (const kind of ["hardware", "software"] as const) {
    for (const vcpu of vm.vcpus) await vcpu.setRegisters({ rip: 0x1000n, rax: 0n });
    const breakpoint = await vm.breakpoints.add(gva(0x1001n), { kind });
    for (let round = 1n; round <= 5n; round++) {
      const seen = new Set<number>();
      for (const _ of vm.vcpus) {
        const stop = await vm.continue(LIMIT);
        assert.equal(stop.kind, "breakpoint", breakpoint.how);
        assert.equal(stop.rip, 0x1001n);
        assert.equal(stop.registers.rax & 0xffffn, round);
        seen.add(stop.vcpu.index);
      }
      assert.deepEqual([...seen].sort(), [0, 1]);
    }
    assert.equal(breakpoint.hits, 10);
    await breakpoint.remove();
  }
});

Deno.test("conditions see every vCPU's every round", async () => {
  // inc ax; cmp ax, 100; jne; cli; hlt
  await using vm = await guest([0x40, 0x3d, 100, 0, 0x75, 0xfa, 0xfa, 0xf4], 3);
  const rounds = [0, 0, 0];
  const breakpoint = await vm.breakpoints.add(gva(0x1001n), {
    kind: "software",
    condition: (hit) => ++rounds[hit.vcpu.index] > 1000,
  });
  const stop = await vm.continue(LIMIT);
  assert.equal(stop.kind, "halt");
  // The first to halt stops all: the others' last rounds are still to come.
  await vm.continue(LIMIT);
  await vm.continue(LIMIT);
  assert.deepEqual(rounds, [100, 100, 100]);
  assert.equal(breakpoint.hits, 300);
});

Deno.test("an access break met while another vCPU stops is told next, unless it was taken out", async () => {
  // in al, 0x80; out 0x81, al; jmp $: vCPU 1 begins at the OUT
  await using vm = await guest([0xe4, 0x80, 0xe6, 0x81, 0xeb, 0xfe]);
  const start = async () => {
    await vm.vcpus[0].setRegisters({ rip: 0x1000n });
    await vm.vcpus[1].setRegisters({ rip: 0x1002n });
  };
  const first = await vm.breakpoints.onAccess({ space: "port", start: 0x80 });
  const second = await vm.breakpoints.onAccess({ space: "port", start: 0x81 });
  await start();
  const one = await vm.continue(LIMIT);
  const two = await vm.continue(LIMIT);
  const told = [one, two].sort(byVcpu).map((stop) =>
    stop.kind === "access" ? [stop.vcpu.index, stop.address, stop.rip] : []
  );
  assert.deepEqual(told, [[0, 0x80n, 0x1002n], [1, 0x81n, 0x1004n]]);

  await start();
  assert.equal((await vm.continue(LIMIT)).kind, "access");
  await second.remove();
  await first.remove();
  assert.equal((await vm.continue({ timeoutMs: 20 })).kind, "timeout");
});

Deno.test("what a device asks for while another vCPU stops is told next", async () => {
  // nop; jmp $; at 0x1003 out 0xf4, al; jmp $
  await using vm = await guest([0x90, 0xeb, 0xfe, 0xe6, 0xf4, 0xeb, 0xfe]);
  await vm.devices.add({
    name: "exit",
    ports: { start: 0xf4, length: 1 },
    write: () => vm.requestStop({ kind: "exit", code: 3 }),
  });
  await vm.breakpoints.add(gva(0x1001n));
  await vm.vcpus[1].setRegisters({ rip: 0x1003n });
  const stops = [await vm.continue(LIMIT), await vm.continue(LIMIT)].sort(byVcpu);
  assert.deepEqual(stops.map(({ kind, vcpu }) => [kind, vcpu.index]), [["breakpoint", 0], ["exit", 1]]);
});

Deno.test("a breakpoint that was met but not told is gone when it is taken out, and when its vCPU is stepped", async () => {
  await using vm = await guest([0x40, 0xeb, 0xfd]);
  const breakpoint = await vm.breakpoints.add(gva(0x1001n), { kind: "software" });
  const { vcpu: met } = await vm.continue(LIMIT);
  const other = 1 - met.index;
  // The other one stands there too, and has not been told.
  assert.equal((await vm.vcpus[other].registers()).rip, 0x1001n);
  await vm.step({ vcpu: other, count: 1 });
  const next = await vm.continue(LIMIT);
  assert.equal(next.registers.rax & 0xffffn, 2n, "it was stepped off and met again a round later");
  await breakpoint.remove();
  assert.equal((await vm.continue({ timeoutMs: 20 })).kind, "timeout");
});

Deno.test("one vCPU is stepped while the others stand", async () => {
  await using vm = await guest([0x40, 0xeb, 0xfd], 3);
  await vm.continue({ timeoutMs: 5 });
  for (const vcpu of vm.vcpus) await vcpu.setRegisters({ rip: 0x1000n, rax: 0n });
  const stop = await vm.step({ vcpu: 1, count: 6 });
  assert.equal(stop.vcpu.index, 1);
  const rax = await Promise.all(vm.vcpus.map(async (v) => (await v.registers()).rax));
  assert.deepEqual(rax, [0n, 3n, 0n]);
});

const ax = async (vm: GuestMachine, vcpu: number) => Number((await vm.vcpus[vcpu].registers()).rax & 0xffffn);

Deno.test("one vCPU is stepped while the others run", async () => {
  await using vm = await guest([0x40, 0xeb, 0xfd], 3); // inc ax; jmp 0x1000
  const stop = await vm.step({ vcpu: 1, count: 6, others: "run" });
  assert.deepEqual([stop.kind, stop.vcpu.index, stop.rip], ["step", 1, 0x1000n]);
  assert.equal(await ax(vm, 1), 3);
  assert.ok(await ax(vm, 0) > 3 && await ax(vm, 2) > 3);
  // Alone it is a step like any other.
  await using single = await guest([0x40, 0xeb, 0xfd], 1);
  assert.equal((await single.step({ others: "run" })).rip, 0x1001n);
});

Deno.test("stepped beside others, a vCPU that waits for one of them comes on", async () => {
  // cmp byte [0x2000], 0; je 0x1000; nop; at 0x1008: inc ax; jnz; inc byte [0x2000]; jmp $
  await using vm = await guest([
    ...[0x80, 0x3e, 0x00, 0x20, 0x00, 0x74, 0xf9, 0x90],
    ...[0x40, 0x75, 0xfd, 0xfe, 0x06, 0x00, 0x20, 0xeb, 0xfe],
  ]);
  await vm.vcpus[1].setRegisters({ rip: 0x1008n });
  const stop = await vm.step({ vcpu: 0, count: 1e6, others: "run", each: ({ rip }) => rip < 0x1007n });
  assert.deepEqual([stop.kind, stop.vcpu.index, stop.rip], ["step", 0, 0x1007n]);
});

for (const kind of ["software", "hardware"] as const) {
  Deno.test(`beside a step, ${kind} breakpoints stop who meets them, each time`, async () => {
    await using vm = await guest([0x40, 0xeb, 0xfd]);
    const breakpoint = await vm.breakpoints.add(gva(0x1001n), { kind });
    // The one that is stepped meets it by its steps, and is not stepped off it for nothing.
    const met = [0, 0];
    for (let i = 0; i < 200; i++) {
      const stop = await vm.step({ vcpu: 0, count: 4, others: "run" });
      if (stop.kind === "breakpoint") met[stop.vcpu.index]++;
      for (const vcpu of vm.vcpus) {
        const { rip, rax } = await vcpu.registers();
        const due = vcpu.index === stop.vcpu.index ? 0n : rip === 0x1001n ? 1n : 0n;
        assert.ok((rax & 0xffffn) - due <= BigInt(met[vcpu.index]), "it passed the breakpoint unseen");
      }
    }
    assert.ok(met[0] > 0 && met[1] > 0, String(met));
    assert.equal(breakpoint.hits, met[0] + met[1]);
  });
}

Deno.test("beside a step all may fall asleep; a device that throws, and a pause, end it", async () => {
  await using asleep = await guest([0xfa, 0xf4]); // cli; hlt
  assert.equal((await asleep.step({ vcpu: 0, count: 100, others: "run" })).kind, "halt");

  // cli; hlt; jmp $: one sleeps for good, the other goes on.
  await using half = await guest([0xfa, 0xf4, 0xeb, 0xfe]);
  await half.vcpus[1].setRegisters({ rip: 0x1002n });
  const waiting = half.step({ vcpu: 0, count: 100, others: "run" });
  setTimeout(() => void half.pause());
  assert.equal((await waiting).kind, "pause");

  await using vm = await guest([0xeb, 0xfe, 0xe6, 0x80, 0xeb, 0xfe]); // jmp $; at 0x1002 out 0x80, al; jmp $
  let pause = false;
  await vm.devices.add({
    name: "bad",
    ports: { start: 0x80, length: 1 },
    write: () => {
      if (!pause) throw new Error("no");
      void vm.pause();
    },
  });
  const stepped = async () => {
    await vm.vcpus[1].setRegisters({ rip: 0x1002n });
    const { kind, vcpu } = await vm.step({ vcpu: 1, count: 1e6, others: "run" });
    return [kind, vcpu.index];
  };
  assert.deepEqual(await stepped(), ["fault", 1]);
  pause = true;
  assert.equal((await stepped())[0], "pause");
});

Deno.test("stepping beside others is refused where it can't be, and where it makes no sense", async () => {
  await using vm = await guest([0x40, 0xeb, 0xfd]);
  for (const odd of [{ others: "walk" as "run" }, { vcpu: [0, 1], others: "run" as const }]) {
    await assert.rejects(() => vm.step(odd), InputError);
  }
  await using turns = new GuestMachine({
    backend: createFake({ memory: 1 << 20, cpus: 2, irqchip: false, pit: false }),
  });
  const stop = await turns.step({ vcpu: 0, others: "run" });
  assert.ok(stop.kind === "fault" && stop.error instanceof UnsupportedError, stop.kind);
});

Deno.test("a device that throws names its vCPU; the others stand, and all goes on", async () => {
  await using vm = await guest([0xeb, 0xfe, 0xe6, 0x80, 0xeb, 0xfe]); // jmp $; at 0x1002 out 0x80, al; jmp $
  await vm.vcpus[1].setRegisters({ rip: 0x1002n });
  await vm.devices.add({
    name: "bad",
    ports: { start: 0x80, length: 1 },
    write: () => {
      throw new Error("no");
    },
  });
  const stop = await vm.continue(LIMIT);
  assert.equal(stop.kind, "fault");
  assert.equal(stop.vcpu.index, 1);
  assert.equal((await vm.continue({ timeoutMs: 20 })).kind, "timeout");
});

Deno.test("a condition that never returns is blamed with its vCPU", async () => {
  await using vm = await guest([0xeb, 0xfe, 0x90, 0xeb, 0xfe]);
  await vm.vcpus[1].setRegisters({ rip: 0x1002n });
  await vm.breakpoints.add(gva(0x1003n), {
    condition: () => {
      for (;;);
    },
  });
  const stop = await vm.continue(LIMIT);
  assert.equal(stop.kind, "fault");
  assert.match(stop.kind === "fault" ? stop.reason : "", /condition of breakpoint 1/);
  assert.equal(stop.vcpu.index, 1);
});

Deno.test("a wait that is ended by a time limit is nobody's fault", async () => {
  const parallel = new AtOnce();
  await using vm = await guest([0x90, 0xeb, 0xfe], 2, parallel);
  await vm.breakpoints.add(gva(0x1001n));
  parallel.endings = 3;
  assert.equal((await vm.continue(LIMIT)).kind, "breakpoint");
});

Deno.test("a timer that a doorbell's answer sets to now is not waited for", async () => {
  const waits: number[] = [];
  let set = false;
  let run = false;
  const never = () => {
    throw new Error("no vCPU came back");
  };
  const parallel: ParallelVcpus = {
    threaded: true,
    start: () => {},
    ready: () => Promise.resolve(),
    wake: () => {},
    hold: () => {},
    next(ms) {
      waits.push(ms);
      return undefined;
    },
    arrival: () => Promise.resolve(),
    doorbells: {
      hang: never,
      // A driver rings once, while the thread is blocked.
      answer: () => !set && waits.at(-1)! > 0 && (set = true),
    },
  };
  const parts = {
    backend: createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false }),
    parallel,
    judge: never,
    late: never,
    settle: () => Promise.resolve(undefined),
    request: () => run ? { kind: "pause" as const } : undefined,
    tend: () => void (run = set),
    due: () => set ? 0 : undefined,
    guarded: <T>(burst: () => T) => burst(),
  };
  await new ParallelRun(parts).run();
  assert.equal(waits[waits.findIndex((ms) => ms > 0) + 1], 0);
});
