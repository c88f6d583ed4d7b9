import assert from "node:assert/strict";
import { AccessRows } from "./access_row.ts";
import type { AccessRow, BackendVcpu } from "./backend.ts";
import { Bus } from "./bus.ts";
import type { VmExit } from "./exit.ts";

const PORT = 0x70;
const RUNAWAY = "ended";

/** Where user code may be ended. */
type Place = "next" | "given" | "device" | "answered" | "asked";

/** A vCPU that writes 0, 1, 2 and so on to a port, and a limit that ends any call at its entry. */
class Scene {
  /** What the device saw, and what was told of. */
  readonly seen: number[] = [];
  readonly told: number[] = [];
  readonly devices: (string | undefined)[] = [];
  mended = 0;
  stop = false;
  /** What comes after so many accesses, instead of one. */
  readonly odd = new Map<number, VmExit | undefined>();
  /** Which call is ended, counted from 0. */
  ended = -1;
  limits = 0;
  readonly places: Place[] = [];
  #written = 0;
  readonly row: AccessRow = {
    next: () => {
      this.#end("next");
      if (this.odd.has(this.#written)) return this.odd.get(this.#written);
      return this.write();
    },
    mend: () => void this.mended++,
  };
  readonly rows: AccessRows;

  constructor() {
    const buses = { port: new Bus("port"), mmio: new Bus("mmio") };
    buses.port.add({
      name: "card",
      ports: { start: PORT, length: 1 },
      write: (_, data) => {
        this.#end("device");
        this.seen.push(data[0]);
      },
    });
    this.rows = new AccessRows({
      buses,
      guarded: (body) => {
        this.limits++;
        return body();
      },
      answered: (_, exit, device) => {
        this.#end("answered");
        this.told.push(exit.data[0]);
        this.devices.push(device?.name);
      },
      forDevices: () => (this.#end("given"), true),
      stopping: () => (this.#end("asked"), this.stop),
    });
  }

  /** The vCPU's next access, taken. */
  write(): VmExit {
    return { kind: "io-out", port: PORT, size: 1, count: 1, data: Uint8Array.of(this.#written++) };
  }

  answer(first: VmExit = this.write()) {
    return this.rows.answer({ index: 0, rip: 0n } as BackendVcpu, this.row, first);
  }

  #end(place: Place): void {
    this.places.push(place);
    if (this.places.length - 1 === this.ended) throw new Error(RUNAWAY);
  }
}

Deno.test("access row: many accesses are answered under one limit, and what comes then is the caller's", () => {
  const scene = new Scene();
  scene.odd.set(4, undefined);
  assert.equal(scene.answer(), undefined);
  assert.deepEqual([scene.seen, scene.told, scene.limits], [[0, 1, 2, 3], [0, 1, 2, 3], 1]);
  const other = new Scene();
  const debug: VmExit = { kind: "debug", exception: 1, dr6: 0n, pc: 0n };
  other.odd.set(2, debug);
  assert.deepEqual(other.answer(), { exit: debug });
  assert.deepEqual(other.seen, [0, 1]);
  // What is no access for devices from the start is not answered here.
  assert.deepEqual(new Scene().answer(debug), { exit: debug });
});

Deno.test("access row: it ends where the machine is to stop, and after a while by itself", () => {
  const scene = new Scene();
  scene.stop = true;
  assert.equal(scene.answer(), undefined);
  assert.deepEqual(scene.seen, [0]);
  const endless = new Scene();
  assert.equal(endless.answer(), undefined);
  assert.ok(endless.seen.length > 1);
});

Deno.test("access row: a device that throws, or never returns, is to blame, and its access counts as answered", () => {
  const scene = new Scene();
  scene.odd.set(4, undefined);
  scene.ended = 6; // the second access's
  const met = scene.answer();
  assert.equal(scene.places.at(-2), "device");
  assert.ok(met !== undefined && "cause" in met && met.cause.kind === "fault");
  assert.match(met.cause.reason, /device card threw on a write of 1 byte at port 0x70/);
  assert.deepEqual([scene.seen, scene.told, scene.devices], [[0], [0, 1], ["card", undefined]]);
});

Deno.test("access row: ended anywhere else, as the host stood still, it loses no access and answers none twice", () => {
  let ends = 0;
  for (let ended = 1;; ended++) {
    const scene = new Scene();
    scene.odd.set(4, undefined);
    scene.ended = ended;
    let met = scene.answer();
    if (scene.places.length <= ended) break;
    if (scene.places[ended] === "device") continue;
    ends++;
    const what = `ended at ${scene.places[ended]}, call ${ended}`;
    assert.equal(scene.mended, 1, what);
    scene.ended = -1;
    // As the run loop does: an exit is judged, else the vCPU is run.
    while (scene.seen.length < 4) {
      met = scene.answer(met !== undefined && "exit" in met ? met.exit : scene.write());
    }
    assert.deepEqual(scene.seen, [0, 1, 2, 3], what);
  }
  assert.ok(ends > 10, `${ends} places`);
});
