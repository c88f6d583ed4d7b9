import assert from "node:assert/strict";
import type { VmExit } from "../vm/exit.ts";
import type { Registers } from "../vm/registers.ts";
import { Steps } from "./step_burst.ts";
import type { QuickSteps } from "./strategy.ts";

const DB: VmExit = { kind: "debug", exception: 1, dr6: 0n, pc: 0n };
const CALLS = ["release", "tell", "wait", "take", "show"] as const;

/** A vCPU whose RIP is the number of instructions it has executed, and a limit that may end any call behind its work. */
class Scene {
  executed = 0;
  /** What is not the end of a plain step, by number. */
  readonly odd = new Map<number, VmExit | undefined>();
  readonly shown: number[] = [];
  readonly calls: string[] = [];
  /** Which call is ended, counted from 0. */
  ended = -1;
  mended = 0;
  gone = false;
  /** How many waits are in vain. */
  slow = 0;
  #call = 0;
  #going = true;
  #reported = false;
  readonly steps: Steps;

  constructor() {
    const quick: QuickSteps = {
      release: () => {
        this.#end("release");
        assert.ok(!this.#going, "answered twice");
        this.#going = true;
      },
      tell: () => this.#end("tell"),
      wait: () => {
        if (this.slow-- > 0) return false;
        if (this.#going) {
          this.#going = false;
          this.executed++;
          this.#reported = true;
        }
        this.#end("wait");
        return this.#reported;
      },
      take: () => {
        this.#end("take");
        assert.ok(this.#reported, "nothing to take");
        if (this.odd.has(this.executed)) return this.odd.get(this.executed);
        this.#reported = false;
        return DB;
      },
      mend: () => void this.mended++,
    };
    const guest = {
      plain: (standing: boolean) => standing && this.executed !== 7,
      registers: () => ({ rip: BigInt(this.executed) }) as Registers,
    };
    this.steps = new Steps({ vcpu: 0, quick, guest, moves: () => {}, gone: () => this.gone });
  }

  run(count: number, goOn: (rip: number) => boolean | undefined = () => true): VmExit | undefined {
    return this.steps.run(count, ({ rip }) => {
      this.#end("show");
      this.shown.push(Number(rip));
      return goOn(Number(rip));
    });
  }

  /** Ended at the call's entry: what it does is not done. A wait is ended in its middle. */
  #end(call: typeof CALLS[number]): void {
    this.calls.push(call);
    if (this.#call++ === this.ended) throw new Error("ended");
  }
}

Deno.test("step burst: answer, wait, take, show, and no more; and it stands behind its last step", () => {
  const scene = new Scene();
  assert.equal(scene.run(3), undefined);
  assert.deepEqual([scene.steps.done, scene.steps.standing, scene.shown], [3, true, [1, 2, 3]]);
  const step = ["release", "tell", "wait", "take", "show"];
  assert.deepEqual(scene.calls, [...step.slice(2), ...step, ...step]);
  assert.equal(scene.run(2, (rip) => rip !== 4), undefined);
  assert.equal(scene.steps.done, 4);
  // What is under RIP next is not for it.
  assert.equal(scene.run(100), undefined);
  assert.deepEqual([scene.steps.done, scene.executed], [7, 7]);
});

Deno.test("step burst: what is no plain step is the caller's, and so is what only a pause tells of", () => {
  const scene = new Scene();
  scene.odd.set(2, { kind: "debug", exception: 1, dr6: 2n, pc: 0n });
  const hit = scene.run(5);
  assert.ok(hit?.kind === "debug" && hit.dr6 === (1n << 14n | 2n));
  assert.deepEqual([scene.steps.done, scene.steps.standing], [1, true]);
  const other = new Scene();
  other.odd.set(1, undefined);
  assert.deepEqual(other.run(5), { kind: "slice" });
  assert.deepEqual([other.steps.done, other.steps.standing], [0, false]);
});

Deno.test("step burst: a step that is to be shown later is shown first the next time", () => {
  const scene = new Scene();
  assert.equal(scene.run(4, (rip) => rip === 2 ? undefined : true), undefined);
  assert.deepEqual([scene.steps.done, scene.executed], [1, 2]);
  assert.equal(scene.run(3), undefined);
  assert.deepEqual([scene.shown, scene.steps.done], [[1, 2, 2, 3, 4], 4]);
});

Deno.test("step burst: ended anywhere, mended and run again, it loses no step and takes none twice", () => {
  for (let ended = 0; ended < 18; ended++) {
    const scene = new Scene();
    scene.ended = ended;
    assert.throws(() => scene.run(4), /ended/);
    scene.steps.mend();
    assert.equal(scene.run(4 - scene.steps.done), undefined);
    const what = `ended in call ${ended}`;
    assert.deepEqual([scene.executed, scene.steps.done, scene.mended], [4, 4, 1], what);
    assert.deepEqual(scene.shown, [1, 2, 3, 4], what);
  }
});

Deno.test("step burst: a domain that was destroyed is the caller's to tell, and what the user's code throws is not", () => {
  for (const [call, tells] of [[2, true], [3, false], [4, true]] as const) {
    const scene = new Scene();
    scene.gone = true;
    scene.ended = call - 1;
    // wait, take, show, release
    if (tells) assert.deepEqual(scene.run(4), { kind: "slice" });
    else assert.throws(() => scene.run(4), /ended/);
  }
});

Deno.test("step burst: a step that takes long is waited for with turns between, and then left to the caller", () => {
  const scene = new Scene();
  scene.slow = 22;
  for (let wait = 1; wait < 20; wait++) assert.equal(scene.run(1), undefined);
  assert.deepEqual(scene.run(1), { kind: "slice" });
  assert.equal(scene.run(1), undefined);
  assert.equal(scene.run(1), undefined);
  assert.equal(scene.steps.done, 0);
  assert.equal(scene.run(1), undefined);
  assert.deepEqual([scene.steps.done, scene.executed], [1, 1]);
});
