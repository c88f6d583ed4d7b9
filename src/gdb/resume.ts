/** Which vCPUs a resume packet moves, and how: vCont, and the older c, s, C and S (GDB manual, E.2). */
import { can } from "../vm/capabilities.ts";
import type { Machine } from "../vm/machine.ts";
import type { Stop } from "../vm/stop.ts";
import { hexNumber, PacketError } from "./text.ts";
import { type ThreadChoice, threadChoice } from "./threads.ts";

/** What shall move. */
export type Motion =
  /** All vCPUs, freely. */
  | { readonly kind: "continue" }
  /** Some of several vCPUs, the others held: only stepping can do that. */
  | { readonly kind: "some"; readonly vcpus: readonly number[] }
  /** One vCPU one instruction, the others held or running. */
  | { readonly kind: "step"; readonly vcpu: number; readonly others: Others }
  /** One vCPU as long as RIP is in [start, end). */
  | {
    readonly kind: "range";
    readonly vcpu: number;
    readonly start: bigint;
    readonly end: bigint;
    readonly others: Others;
  };

type Others = "hold" | "run";

interface Action {
  readonly letter: string;
  readonly start: bigint;
  readonly end: bigint;
  readonly thread: ThreadChoice;
}

/** Most actions of one packet: more than there are vCPUs make no sense. */
const MOST_ACTIONS = 4096;

/**
 * Reads what stands behind `vCont`: for each vCPU the first action that names it counts. While one is stepped the
 * others run if all of them are to go on, and stand still if not. Signals are not passed on: a guest has exceptions
 * instead.
 *
 * @param current The vCPU that stopped last: it is stepped if several might be.
 * @throws {PacketError} If it makes no sense.
 */
export function motionOf(text: string, vcpus: number, current: number): Motion {
  const actions = text.split(";", MOST_ACTIONS + 1).slice(1).map((action) => parse(action, vcpus));
  const chosen = Array.from(
    { length: vcpus },
    (_, index) =>
      actions.find(({ thread }) =>
        thread === "all" || thread === index || (thread === "any" && index === current)
      ),
  );
  const stepping = chosen.flatMap((action, vcpu) =>
    action !== undefined && action.letter !== "c" ? [{ ...action, vcpu }] : []
  );
  const [step] = [...stepping.filter(({ vcpu }) => vcpu === current), ...stepping];
  const free = vcpus > 1 && chosen.every((action, vcpu) => vcpu === step?.vcpu || action?.letter === "c");
  const others = free ? "run" : "hold";
  if (step?.letter === "s") return { kind: "step", vcpu: step.vcpu, others };
  if (step !== undefined) return { kind: "range", vcpu: step.vcpu, start: step.start, end: step.end, others };
  const running = chosen.flatMap((action, vcpu) => action === undefined ? [] : [vcpu]);
  if (running.length === 0) throw new PacketError("no thread is to go on");
  return running.length === vcpus ? { kind: "continue" } : { kind: "some", vcpus: running };
}

function parse(text: string, vcpus: number): Action {
  const [what, thread, ...more] = text.split(":");
  const found = /^(?:[cs]|[CS][0-9a-fA-F]{1,2}|r([0-9a-fA-F]+,[0-9a-fA-F]+))$/.exec(what);
  if (found === null || more.length > 0) {
    throw new PacketError(`"${text.slice(0, 40)}" is nothing that a thread can do`);
  }
  const [, range] = found;
  const [start, end] = range === undefined ? [0n, 0n] : range.split(",").map(hexNumber);
  return {
    letter: what[0].toLowerCase(),
    start,
    end,
    thread: thread === undefined ? "all" : threadChoice(thread, vcpus),
  };
}

/** Moves the guest; a guest that runs already is joined: the next stop, whoever causes it, ends the run for all. */
export function move(vm: Machine, motion: Motion): Promise<Stop> {
  if (vm.state === "running") return join(vm);
  const others = "others" in motion && motion.others === "run" && can(vm.capabilities, "step-beside")
    ? "run"
    : "hold";
  switch (motion.kind) {
    case "continue":
      return vm.continue();
    case "step":
      if (others === "run") return vm.step({ vcpu: motion.vcpu, others });
      // Of the vCPU that stopped last it is a shorter way.
      return vm.step(motion.vcpu === (vm.lastStop?.vcpu.index ?? 0) ? 1 : { vcpu: motion.vcpu });
    case "some":
      return vm.step({
        count: Number.MAX_SAFE_INTEGER,
        vcpu: motion.vcpus.length === 1 ? motion.vcpus[0] : motion.vcpus,
        interrupts: true,
      });
    case "range":
      return vm.step({
        count: Number.MAX_SAFE_INTEGER,
        vcpu: motion.vcpu,
        others,
        each: ({ rip }) => rip >= motion.start && rip < motion.end,
      });
  }
}

async function join(vm: Machine): Promise<Stop> {
  const stops = vm.stops();
  try {
    const { value } = await stops.next();
    if (value !== undefined) return value;
  } finally {
    await stops.return?.();
  }
  throw new PacketError("the machine was closed", 3);
}
