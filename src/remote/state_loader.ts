/**
 * State that no stub sets (descriptor caches, descriptor tables, debug registers, a switch of modes) is loaded by
 * the guest itself: a few instructions in a borrowed page of its memory, stepped one by one, the page put back. Where
 * QEMU counts instructions they run to their end: a step may do none there, and each stop is one more in the recording.
 */
import { HvshError } from "../vm/errors.ts";
import type { RegisterName } from "../vm/registers.ts";
import type { Machine } from "./machine.ts";
import { stateCode } from "./state_code.ts";
import { SIGTRAP } from "./stop_reply.ts";

const PE = 1n;
const PAGE = 4096;
/** Pages that may be borrowed: conventional memory without the vectors and the BIOS data area. */
const FIRST_PAGE = 0x1000;
const LAST_PAGE = 0x7f000;
const TI = 4n;
const BIG = 1n << 14n;
const LONG = 1n << 13n;
const STEP_MS = 20_000;
/** The bits of QEMU's steps where it records or replays: it can't hold interrupts and timers back. */
const COUNTS = 1;

/** Why a state can't be loaded that way; undefined if it can. */
export function whyNotLoadable(machine: Machine, target: (name: RegisterName) => bigint): string | undefined {
  if (!machine.session.features.physical) {
    return "this stub shows and sets general and control registers alone";
  }
  const segments = ["cs", "ds", "es", "fs", "gs", "ss"] as const;
  if ((target("cr0") & PE) === 0n) {
    const odd = segments.find((name) => target(`${name}_base`) !== target(name) << 4n);
    return odd && `in real mode ${odd}'s base is 16 times its selector`;
  }
  if (segments.some((name) => (target(name) & TI) !== 0n)) return "selectors into the LDT can't be loaded";
  if ((target("cs_attributes") & (BIG | LONG)) === 0n) {
    return "code in 16 bits of protected mode can't be entered";
  }
  if ((target("cs") & 3n) !== 0n) return "another privilege level than 0 can't be entered";
  const usable = segments.find((name) => (target(name) & ~3n) === 0n && target(`${name}_base`) !== 0n);
  if (usable !== undefined && usable !== "fs" && usable !== "gs") {
    return `${usable} has a base but no selector`;
  }
  if (target("cr3") >> 32n !== 0n) return "CR3 lies above 4 GiB";
  return undefined;
}

/**
 * Loads it. General registers are not what they were afterwards.
 *
 * @throws {HvshError} If the guest did not get there.
 */
export function loadState(machine: Machine, index: number, state: (name: RegisterName) => bigint): void {
  const { session, memory, file } = machine;
  const at = freePage(machine, Number(state("cr3") & 0xffff_f000n));
  const before = new Uint8Array(PAGE);
  memory.read(BigInt(at), before);
  const { page, end, steps } = stateCode(at, state);
  memory.write(BigInt(at), page);
  try {
    session.select(index);
    // A selector that stays the same would not be loaded anew.
    const selector = BigInt(at >> 4);
    const real: [RegisterName, bigint][] = [
      ["rflags", 2n],
      ["cr0", 0x10n],
      ["cr4", 0n],
      ["efer", 0n],
      ["cs", selector ^ 1n],
      ["cs", selector],
      ["rip", 0n],
    ];
    session.connection.requests(real.map(([name, value]) => file.write(name, value) ?? ""));
    const stopped = () => {
      const reply = machine.wait(STEP_MS);
      return reply?.kind === "signal" && reply.signal === SIGTRAP;
    };
    const arrived = () => machine.dump(index)?.values.get("rip") === end;
    if (session.features.stepBits === COUNTS) {
      const there = state("cs_base") + end;
      machine.traps.insert(there);
      session.resume();
      const well = stopped();
      machine.traps.remove(there);
      if (!well || !arrived()) throw lost("elsewhere");
    } else {
      for (let i = 0; i < steps; i++) {
        session.resumeStep(machine.vcpus[index], false);
        if (!stopped()) throw lost(`after ${i} of ${steps} instructions`);
      }
      if (!arrived()) throw lost("elsewhere");
    }
    machine.vcpus[index].changed();
  } finally {
    session.halt();
    memory.write(BigInt(at), before);
  }
}

/** A page of zeros: nothing that the state needs lies there. */
function freePage({ memory }: Machine, cr3: number): number {
  const bytes = new Uint8Array(PAGE);
  for (let at = FIRST_PAGE; at < LAST_PAGE; at += PAGE) {
    if (
      at === cr3 ||
      !memory.regions.some((r) => r.start <= BigInt(at) && BigInt(at + PAGE) <= r.start + r.size)
    ) {
      continue;
    }
    memory.read(BigInt(at), bytes);
    if (bytes.every((byte) => byte === 0)) return at;
  }
  throw new HvshError(
    "the guest has no page of zeros below 512 KiB that could be borrowed to load this state",
    {
      remedy: "set these registers before the guest uses its memory",
    },
  );
}

function lost(where: string): HvshError {
  return new HvshError(`the guest did not load this state: it stopped ${where}`, {
    remedy: "check that the page tables map the first megabyte to itself",
  });
}
