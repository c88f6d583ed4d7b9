import assert from "node:assert/strict";
import type { Backend, BackendVcpu } from "./backend.ts";
import { Bus } from "./bus.ts";
import type { AccessExit, ReportExit } from "./exit.ts";
import { NOT_OURS, RunLoop, type TrapExit } from "./loop.ts";

type Idle = Awaited<ReturnType<BackendVcpu["idle"]>>;

/** A vCPU whose every run is a slice, and which sleeps as it is told; counts its slices. */
class Sleeper {
  runs = 0;
  readonly index: number;
  idle: () => Idle;
  constructor(index: number, idle: () => Idle) {
    this.index = index;
    this.idle = idle;
  }
  run() {
    this.runs++;
    return { kind: "slice" };
  }
}

function loopOf(
  vcpus: readonly Sleeper[],
  guarded?: <T>(burst: () => T) => T,
  debugger_: { readonly trapPort?: number; readonly watchesAccesses?: boolean } = {},
): RunLoop {
  const backend = { vcpus, slow: guarded !== undefined } as unknown as Backend;
  const supervisor = {
    trapPort: -1,
    watchesAccesses: false,
    guardsPages: false,
    trap: (_: BackendVcpu, exit: TrapExit) =>
      "port" in exit ? { kind: "fault", reason: `trap at port ${exit.port}` } as const : NOT_OURS,
    accessed: (_: BackendVcpu, exit: AccessExit) =>
      ({ kind: "fault", reason: `${exit.kind} was watched` }) as const,
    reported: (_: BackendVcpu, exit: ReportExit) =>
      ({ kind: "fault", reason: `${exit.space} was reported` }) as const,
    sliceEnded: () => {},
    accessing: () => {},
    ...debugger_,
  };
  return new RunLoop(backend, { port: new Bus("port"), mmio: new Bus("mmio") }, supervisor, {
    access: () => {},
    other: () => {},
  }, guarded);
}

Deno.test("loop: a machine halts when each vCPU sleeps for good or waits for SIPI, which nobody will send", async () => {
  const vcpus = [new Sleeper(0, () => "halted-forever"), new Sleeper(1, () => "wait-for-sipi")];
  const { cause, vcpu } = await loopOf(vcpus).run();
  assert.deepEqual([cause.kind, vcpu.index], ["halt", 0]);
  assert.equal(vcpus[1].runs, 0, "a vCPU that waits for SIPI takes no slice");
});

Deno.test("loop: as long as one vCPU may wake another the machine runs", async () => {
  let slices = 0;
  const vcpus = [
    new Sleeper(0, () => "halted-forever"),
    new Sleeper(1, () => ++slices < 20 ? "halted" : "halted-forever"),
  ];
  const { cause } = await loopOf(vcpus).run();
  assert.equal(cause.kind, "halt");
  assert.ok(slices >= 20);
});

/** A vCPU in a string instruction on MMIO, as KVM runs it on a slow host: access after access, no end of a slice. */
class Storing extends Sleeper {
  override run() {
    this.runs++;
    const until = performance.now() + 0.5;
    while (performance.now() < until);
    return { kind: "mmio-write", address: 0xd000_0000n, data: Uint8Array.of(0) };
  }
}

Deno.test("loop: accesses that never let a slice end still give the event loop its turns", async () => {
  const vcpu = new Storing(0, () => "no");
  const loop = loopOf([vcpu]);
  setTimeout(() => loop.ask({ kind: "pause" }), 1);
  const { cause } = await loop.run();
  assert.equal(cause.kind, "pause");
  assert.ok(vcpu.runs <= 1024, `${vcpu.runs} accesses`);
});

/** A vCPU of a slow backend, as Xen's in a lab: each exit takes longer than a whole slice. */
class Crawling extends Storing {
  override run() {
    const until = performance.now() + 20;
    while (performance.now() < until);
    return super.run();
  }
}

Deno.test("loop: a burst of slow exits ends soon, and is not cut off as if it were user code that never returns", async () => {
  let inside = 0;
  let runs = 0;
  const guarded = <T>(body: () => T): T => {
    const before = runs;
    const result = body();
    if (runs !== before) inside++;
    return result;
  };
  const vcpu = new Crawling(0, () => "no");
  const run = vcpu.run.bind(vcpu);
  vcpu.run = () => {
    runs++;
    return run();
  };
  const loop = loopOf([vcpu], guarded);
  setTimeout(() => loop.ask({ kind: "pause" }), 1);
  const { cause } = await loop.run();
  assert.equal(cause.kind, "pause");
  assert.ok(vcpu.runs <= 32, `${vcpu.runs} accesses of 20 ms before anybody else had a turn`);
  assert.equal(inside, 0, "the backend ran under the guard");
});

/** A vCPU that writes to ports 1, 2, 3 and so on, and has accesses answered in a row. */
class Rowing extends Sleeper {
  #port = 0;
  readonly row = { next: () => this.#out(), mend: () => {} };
  override run() {
    this.runs++;
    return this.#out();
  }
  #out() {
    return { kind: "io-out", port: ++this.#port, size: 1, count: 1, data: Uint8Array.of(0) } as const;
  }
}

Deno.test("loop: in a row of accesses the debugger's own are the debugger's, and those it watches are shown to it", async () => {
  const guarded = <T>(body: () => T): T => body();
  const vcpu = new Rowing(0, () => "no");
  const trapped = await loopOf([vcpu], guarded, { trapPort: 5 }).run();
  assert.deepEqual([trapped.cause, vcpu.runs], [{ kind: "fault", reason: "trap at port 5" }, 1]);
  const other = new Rowing(0, () => "no");
  const watched = await loopOf([other], guarded, { watchesAccesses: true }).run();
  assert.deepEqual(watched.cause, { kind: "fault", reason: "io-out was watched" });
});
