import assert from "node:assert/strict";
import { XEN, xen_domctl_getdomaininfo } from "../abi/xen.ts";
import { HostError } from "../host/error.ts";
import { DomainRunner } from "./runner.ts";
import type { VmExit } from "../vm/exit.ts";
import type { StopStrategy, VcpuEvent } from "./strategy.ts";

const ID = 7;
const DB = { kind: "debug", exception: 1, dr6: 0n, pc: 0n } as const;

/** A domain that never was: Xen's pause count, and a strategy whose events the test makes up. */
class Scene {
  /** Pauses that Xen counts. */
  pauses = 0;
  dying = false;
  /** How many looks find a vCPU on its way. */
  unsettled = 0;
  gone = false;
  /** How long a pause of somebody else's is waited out. */
  patienceMs = 0;
  /** Whether it is destroyed while a vCPU is let go. */
  goes = false;
  /** What reports once the domain is let go: one list for each time. */
  readonly script: VcpuEvent[][] = [];
  #ready: VcpuEvent[] = [];
  readonly calls: string[] = [];
  readonly runner: DomainRunner;
  readonly #strategy: { -readonly [name in keyof StopStrategy]: StopStrategy[name] };

  /** Makes the strategy one with a device model, whose accesses are `waiting`. */
  accesses(waiting: (VcpuEvent | undefined)[], answer?: () => void): void {
    this.#strategy.access = () => waiting.shift();
    this.#strategy.answer = (vcpu) => (this.calls.push(`answer ${vcpu}`), answer?.());
    this.#strategy.mend = () => void this.calls.push("mend");
    this.#strategy.wait = () => waiting.length > 0;
  }

  /** Asks for something, so that the strategy is set up. */
  arm(): void {
    this.runner.setTraps({ hardware: [], int3: true });
  }

  run(vcpu: number): VmExit {
    const exit = this.runner.run(vcpu);
    assert.ok(!(exit instanceof Promise));
    return exit;
  }

  constructor() {
    const strategy = this.#strategy = {
      wait: () => {
        this.#ready = this.script.shift() ?? [];
        return this.#ready.length > 0;
      },
      gather: () => this.#ready.splice(0),
      unsettled: () => this.unsettled-- > 0,
      release: (kept) => {
        this.calls.push(`release but ${[...kept]}`);
        if (!this.goes) return;
        this.gone = true;
        throw new HostError("xc_vcpu_setcontext", 3);
      },
      refresh: () => void this.calls.push("refresh"),
      setStepping: (vcpu, on) => {
        assert.ok(this.pauses > 0);
        this.calls.push(`step ${vcpu} ${on}`);
      },
      setTraps: () => {},
      close: (living) => void this.calls.push(`close ${living}`),
    };
    const patience = () => this.patienceMs;
    this.runner = new DomainRunner({
      get patienceMs() {
        return patience();
      },
      control: {
        pause: () => void this.pauses++,
        unpause: () => this.pauses > 0 && this.pauses-- > 0,
        listDomains: (_first, into) => {
          if (this.gone) return 0;
          const flags = (this.pauses > 0 ? XEN.XEN_DOMINF_paused : XEN.XEN_DOMINF_running) |
            (this.dying ? XEN.XEN_DOMINF_dying : 0);
          into.set(xen_domctl_getdomaininfo.encode({ domain: ID, flags }));
          return 1;
        },
      },
      domain: ID,
      strategy: () => strategy,
      goesOn: () => {},
    });
  }
}

Deno.test("runner: it holds one pause, and gives back no more than that", () => {
  const scene = new Scene();
  scene.pauses = 1; // somebody else's
  scene.runner.hold();
  scene.runner.hold();
  assert.equal(scene.pauses, 2);
  scene.runner.close();
  scene.runner.close();
  assert.equal(scene.pauses, 1);
  assert.deepEqual(scene.calls, []); // looking sets nothing up
  assert.throws(() => scene.runner.run(0), { name: "StateError", state: "closed" });
});

Deno.test("runner: a guest that nothing is asked of is let go without a strategy", async () => {
  const scene = new Scene();
  scene.runner.hold();
  scene.runner.setTraps({ hardware: [undefined], int3: false });
  assert.deepEqual(await scene.runner.run(0), { kind: "slice" });
  assert.equal(scene.pauses, 0);
  assert.deepEqual(scene.calls, []);
  scene.dying = true;
  assert.equal((await scene.runner.run(0)).kind, "gone");
});

Deno.test("runner: a slice without news, and a stop that pauses everything", () => {
  const scene = new Scene();
  scene.runner.hold();
  scene.arm();
  scene.script.push([], [{ vcpu: 1, exit: DB }]);
  assert.equal(scene.run(0).kind, "slice");
  assert.equal(scene.pauses, 0);
  assert.equal(scene.run(1).kind, "slice"); // one waits for all
  assert.equal(scene.run(0).kind, "slice"); // it is the other's
  assert.equal(scene.pauses, 1);
  assert.equal(scene.run(0).kind, "slice"); // which was not told yet
  assert.equal(scene.pauses, 1);
  assert.equal(scene.run(1).kind, "debug");
});

Deno.test("runner: a step has its own event, and another vCPU's waits until its turn", () => {
  const scene = new Scene();
  scene.runner.hold();
  scene.arm();
  scene.script.push([{ vcpu: 1, exit: DB }], [{ vcpu: 0, exit: DB }]);
  const exit = scene.runner.step(0);
  assert.ok(exit.kind === "debug" && exit.dr6 === 1n << 14n);
  assert.deepEqual(scene.calls, ["step 0 true", "release but ", "release but 1", "step 0 false"]);
  assert.equal(scene.pauses, 1);
  assert.equal(scene.run(1).kind, "debug");
});

Deno.test("runner: a step that takes long goes on, and is called off by whoever looks", () => {
  const scene = new Scene();
  scene.runner.hold();
  assert.equal(scene.runner.step(0).kind, "slice");
  assert.equal(scene.runner.step(0).kind, "slice");
  assert.deepEqual(scene.calls.filter((call) => call.startsWith("step")), ["step 0 true"]);
  scene.runner.hold();
  assert.deepEqual(scene.calls.filter((call) => call.startsWith("step")), ["step 0 true", "step 0 false"]);
});

Deno.test("runner: a pause of somebody else's, and one that was taken from us, are survived", () => {
  const scene = new Scene();
  scene.pauses = 1;
  scene.runner.hold();
  scene.arm();
  const exit = scene.run(0);
  assert.ok(exit.kind === "unsupported" && /paused by someone else.*xl unpause 7/.test(exit.reason));
  scene.runner.hold();
  scene.pauses = 0; // `xl unpause`, twice
  assert.equal(scene.run(0).kind, "slice");
});

Deno.test("runner: a domain that is paused to be destroyed is told to be gone, and not to be paused", () => {
  const scene = new Scene();
  scene.patienceMs = Infinity;
  scene.arm();
  assert.equal(scene.run(0).kind, "slice");
  scene.pauses = 1; // xl destroy begins
  assert.equal(scene.run(0).kind, "slice");
  scene.dying = true;
  assert.equal(scene.run(0).kind, "gone");
});

Deno.test("runner: nothing of a domain that is being destroyed is touched", () => {
  const scene = new Scene();
  scene.runner.hold();
  scene.runner.step(0);
  scene.dying = true;
  assert.throws(() => scene.runner.needLiving(), { name: "StateError", state: "gone" });
  assert.equal(scene.runner.tryHold(), false);
  assert.equal(scene.run(0).kind, "gone");
  assert.equal(scene.runner.step(0).kind, "gone");
  scene.runner.close();
  assert.equal(scene.calls.at(-1), "close false");
  assert.equal(scene.pauses, 0);
  const other = new Scene();
  other.runner.hold();
  other.arm();
  other.gone = true;
  assert.equal(other.run(0).kind, "gone");
  other.runner.close();
  assert.equal(other.pauses, 1); // there is nobody to let go
});

Deno.test("runner: a domain that is destroyed between two calls is gone, and no call is said to have failed", () => {
  for (const act of ["run", "step"] as const) {
    const scene = new Scene();
    scene.arm();
    scene.goes = true;
    assert.deepEqual(
      act === "run" ? scene.run(0) : scene.runner.step(0),
      { kind: "gone", reason: `domain ${ID} was destroyed` },
    );
    scene.runner.close();
  }
});

Deno.test("runner: a vCPU on its way into the stub, or out of it, is let go until it can be looked at", () => {
  const scene = new Scene();
  scene.arm();
  assert.equal(scene.run(0).kind, "slice");
  assert.equal(scene.pauses, 0);
  // It is seen on its way twice, and then waits with a stop to tell.
  scene.unsettled = 2;
  scene.script.push([], [{ vcpu: 0, exit: DB }]);
  scene.runner.hold();
  assert.equal(scene.pauses, 1);
  assert.equal(scene.runner.run(0), DB);
});

Deno.test("runner: accesses in a row are answered without a pause, until something else is to be told", () => {
  const out = { kind: "io-out", port: 1, size: 1, count: 1, data: Uint8Array.of(0) } as const;
  const scene = new Scene();
  const waiting: (VcpuEvent | undefined)[] = [];
  scene.accesses(waiting);
  scene.arm();
  waiting.push({ vcpu: 0, exit: out });
  assert.equal(scene.run(0), out);
  assert.equal(scene.pauses, 0);
  waiting.push({ vcpu: 0, exit: out }, { vcpu: 1, exit: out });
  scene.calls.length = 0;
  assert.equal(scene.runner.nextAccess(0), out);
  // Another vCPU's waits until its turn.
  assert.equal(scene.runner.nextAccess(0), undefined);
  assert.deepEqual([scene.calls, scene.pauses], [["answer 0", "answer 0"], 0]);
  assert.equal(scene.runner.nextAccess(0), undefined);
  assert.equal(scene.run(1), out);
  // Nothing came, or what came is no access: it is for `run` to tell.
  assert.equal(scene.runner.nextAccess(1), undefined);
  scene.runner.hold();
  waiting.push({ vcpu: 0, exit: out });
  assert.equal(scene.runner.nextAccess(0), undefined, "a domain that is held");
  scene.runner.mend();
  assert.equal(scene.calls.at(-1), "mend");
});

Deno.test("runner: a domain that is destroyed between two accesses is for `run` to tell", () => {
  const scene = new Scene();
  scene.accesses([], () => {
    scene.gone = true;
    throw new HostError("xenevtchn_notify", 22);
  });
  scene.arm();
  scene.run(0);
  assert.equal(scene.runner.nextAccess(0), undefined);
  assert.equal(scene.run(0).kind, "gone");
});

Deno.test("runner: what fails because the domain is gone is told as that; once that is told, it is not held any more", () => {
  const scene = new Scene();
  scene.runner.hold();
  const refused = () => {
    throw new HostError("xc_vcpu_getcontext", 3);
  };
  assert.throws(() => scene.runner.there(refused), { name: "ESRCH" });
  scene.gone = true;
  assert.throws(() => scene.runner.there(refused), { name: "StateError", state: "gone" });
  assert.equal(scene.runner.held, true);
  assert.equal(scene.run(0).kind, "gone");
  assert.equal(scene.runner.tryHold(), false);
});
