/** gdb itself, on hvsh's GDB server and on QEMU's stub. */

import { type Effort, type Figure, type Measured, Obstacle, summary } from "./figure.ts";
import { both } from "./peers.ts";
import { LOOP_ADDRESS } from "./rsp_guest.ts";

/** Steps of one `stepi` of gdb. */
const STEPI = 1000;
/** Hits that gdb looks at on QEMU, and hvsh for it in the same round: it shall take both a while. */
const HITS = { ours: 10_000, theirs: 500 };
/** A round takes gdb's own start as well: a few are enough, and all that one has patience for. */
const MOST_ROUNDS = 5;

/** What one run of gdb takes at most, unless something is wrong. */
const PATIENCE_MS = 60_000;

/** gdb's own steps. */
export const gdbStepi: Figure = {
  name: "gdb-stepi",
  what: `gdb \`stepi ${STEPI}\` on hvsh's GDB server; on QEMU's stub`,
  goal: 3,
  better: "higher",
  unit: "steps/s",
  needs: [],
  measure: (effort) => inTurn(effort, async (port) => STEPI / await gdbSeconds(port, [], `stepi ${STEPI}`)),
};

/**
 * A breakpoint of gdb whose condition is false until the last hit. It is a hardware breakpoint, since QEMU's software
 * breakpoints never stop on a KVM that does not report INT3.
 */
export const gdbCond: Figure = {
  name: "gdb-cond",
  what: "hits a second of gdb's conditional hardware breakpoint on hvsh's GDB server; on QEMU's stub",
  goal: 20,
  better: "higher",
  unit: "hits/s",
  needs: [],
  measure: (effort) =>
    inTurn(effort, async (port, side) => {
      const at = `*0x${LOOP_ADDRESS.toString(16)}`;
      const before = ["set var $rax = 0", `hbreak ${at} if $rax >= ${HITS[side]}`];
      return HITS[side] / await gdbSeconds(port, before, "continue");
    }),
};

function inTurn(
  effort: Effort,
  rate: (port: number, side: "ours" | "theirs") => Promise<number>,
): Promise<Measured> {
  return both(async (ours, theirs) => {
    const rounds: { ours: number; theirs: number }[] = [];
    for (let i = 0; i < Math.min(effort.rounds, MOST_ROUNDS); i++) {
      rounds.push({ ours: await rate(ours, "ours"), theirs: await rate(theirs, "theirs") });
    }
    return summary(rounds);
  });
}

/** Seconds that `command` takes in gdb; its start and the commands before are left out. */
async function gdbSeconds(port: number, before: readonly string[], command: string): Promise<number> {
  const clock = "python import time; print('at', time.monotonic_ns())";
  const commands = [
    ...["set pagination off", "set confirm off", "set architecture i386:x86-64"],
    ...[`target remote 127.0.0.1:${port}`, "stepi", ...before, clock, command, clock, "delete"],
  ];
  const text = await gdb(["-nx", "-batch", ...commands.flatMap((line) => ["-ex", line])]);
  const [from, to] = [...text.matchAll(/^at (\d+)$/gm)].map(([, time]) => BigInt(time));
  if (to === undefined) throw new Obstacle(`gdb did not get there: ${text}`, "see what gdb says");
  return Number(to - from) / 1e9;
}

async function gdb(args: string[]): Promise<string> {
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const { stdout, stderr } = await new Deno.Command("gdb", { args, signal }).output();
    const text = new TextDecoder();
    const said = text.decode(stdout) + text.decode(stderr);
    if (signal.aborted) {
      throw new Obstacle(
        `gdb did not come to its end within ${PATIENCE_MS / 1000} s: ${said}`,
        "see what gdb says",
      );
    }
    return said;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Obstacle("there is no gdb", "apt-get install gdb");
  }
}
