/** What every device must stand: checks that the tests of all of them share. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { Device, DeviceRange } from "../vm/device.ts";
import { MockGuest } from "./mock_guest.ts";

/** `deno task soak` sets it: how many sequences each device stands. */
const SOAK = Deno.env.get("HVSH_SOAK");

/** How many sequences a device's property test runs: `usual` ones, or as many as `HVSH_SOAK` says. */
export function runs(usual: number): number {
  return SOAK === undefined ? usual : Number(SOAK);
}

/** How a device is put under the checks. */
export interface Subject {
  readonly guest: MockGuest;
  readonly device: Device;
}

/** Adversarial values: edges of every width, single bits, and anything. */
const VALUE = fc.oneof(
  fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff),
  fc.nat(255),
  fc.integer({ min: 0, max: 0xffffffff }),
);

/**
 * Random accesses of every width to every port and address, resets, saves and passing time, in any order: nothing throws,
 * a state survives JSON and comes back the same, inspecting changes nothing, and `holds` is true after each step.
 *
 * @param make A new device in a new guest, the same each time.
 * @param options `seed`; `runs`, 200 if left out; `holds`, what must always be true.
 */
export function anySequence(
  make: () => Subject,
  options: { seed: number; runs?: number; steps?: number; holds?: (subject: Subject) => void },
): void {
  const { device } = make();
  const all = (given: Device["ports"]) => given === undefined ? [] : [given].flat() as DeviceRange[];
  const within = ({ start, length }: DeviceRange) =>
    fc.nat(Number(length) - 1).map((i) => BigInt(start) + BigInt(i));
  const place = fc.oneof(
    ...all(device.ports).map((r) => within(r).map((at) => ({ space: "port" as const, at }))),
    ...all(device.mmio).map((r) => within(r).map((at) => ({ space: "mmio" as const, at }))),
  );
  const size = fc.constantFrom(1 as const, 1 as const, 1 as const, 2 as const, 4 as const);
  const step = fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("out" as const), place, size, value: VALUE }) },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("in" as const), place, size }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant("time" as const),
        ns: fc.oneof(fc.nat(9_999), fc.nat(2 ** 30)),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("reset" as const, "carry" as const) }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: options.steps ?? 60 }), (steps) => {
      const subject = make();
      const { guest, device } = subject;
      for (const s of steps) {
        if (s.kind === "out") store(guest, s.place, s.value, s.size);
        else if (s.kind === "in") load(guest, s.place, s.size);
        else if (s.kind === "time") guest.advance(s.ns);
        else if (s.kind === "reset") device.reset?.();
        else carry(device, device);
        options.holds?.(subject);
      }
      const other = make();
      carry(device, other.device);
    }),
    { seed: options.seed, numRuns: runs(options.runs ?? 200) },
  );
}

/** Where an access goes. */
interface Place {
  readonly space: "port" | "mmio";
  readonly at: bigint;
}

function load(guest: MockGuest, { space, at }: Place, size: 1 | 2 | 4): void {
  if (space === "port") guest.in(Number(at), size);
  else guest.load(at, size);
}

function store(guest: MockGuest, { space, at }: Place, value: number, size: 1 | 2 | 4): void {
  if (space === "port") guest.out(Number(at), value, size);
  else guest.store(at, value, size);
}

/** Takes the state of `from` to `to` by way of JSON and sees that it arrived; refuses what is foreign. */
export function carry(from: Device, to: Device): void {
  const saved = JSON.parse(JSON.stringify(from.save?.()));
  const before = JSON.stringify(from.inspect?.(), plainly);
  assert.equal(JSON.stringify(from.inspect?.(), plainly), before, "inspect() changes what it shows");
  assert.deepEqual(JSON.parse(JSON.stringify(from.save?.())), saved, "save() or inspect() changes the state");
  to.restore?.(saved);
  assert.deepEqual(JSON.parse(JSON.stringify(to.save?.())), saved, "restore() loses something");
}

/** A foreign record, an unknown version and a damaged field are refused, and the state stays. */
export function refusesForeign(device: Device): void {
  const saved = JSON.parse(JSON.stringify(device.save?.())) as Record<string, unknown>;
  const bad: unknown[] = [undefined, null, 1, "x", [], {}, { ...saved, device: "another" }, {
    ...saved,
    version: 99,
  }];
  for (const name of Object.keys(saved)) {
    if (name !== "device" && name !== "version") bad.push({ ...saved, [name]: "?" });
  }
  for (const record of bad) {
    assert.throws(
      () => device.restore?.(record),
      { name: "InputError" },
      JSON.stringify(record)?.slice(0, 200),
    );
  }
  assert.deepEqual(
    JSON.parse(JSON.stringify(device.save?.())),
    saved,
    "a refused restore() changed the state",
  );
}

function plainly(_name: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}
