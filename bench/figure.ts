/** What a figure is, and how two sides are measured in turn. */

/** One line of the result: what hvsh reaches beside what it is compared with. */
export interface Result {
  readonly name: string;
  /** Ours against theirs: of rates where higher is better, of times or amounts where lower is. */
  readonly ratio: number;
  readonly goal: number;
  readonly better: "higher" | "lower";
  /** What `ours` and `theirs` count. */
  readonly unit: string;
  readonly ours: number;
  readonly theirs: number;
  /** What the guests ran on, where that is not KVM alone by the figure's nature. */
  readonly on?: string;
}

/** A figure that can be measured. */
export interface Figure {
  readonly name: string;
  /** One line: what is measured against what. */
  readonly what: string;
  readonly goal: number;
  readonly better: "higher" | "lower";
  readonly unit: string;
  /** Whether it needs /dev/kvm, to be dom0 of a Xen host, and cc for its twin. */
  readonly needs: readonly ("kvm" | "xen" | "cc")[];
  /** @throws {Obstacle} If something on this host stands in the way. */
  measure(effort: Effort): Promise<Measured>;
}

/** What a measurement gives; the figure's name and goal are added to it. */
export type Measured = Pick<Result, "ratio" | "ours" | "theirs" | "on">;

/** How long to measure. */
export interface Effort {
  /** Rounds, each with one run of ours and one of theirs. */
  readonly rounds: number;
  /** Milliseconds that one side's run shall take in a round. */
  readonly runMs: number;
}

/** What keeps a figure from being measured here, and what to do about it. */
export class Obstacle extends Error {
  readonly remedy: string;

  constructor(message: string, remedy: string) {
    super(message);
    this.remedy = remedy;
  }
}

/** Does its work `count` times and gives the nanoseconds that took. */
export type Side = (count: number) => Promise<number>;

/** Whether a figure's goal is reached. */
export function reached({ ratio, goal, better }: Pick<Result, "ratio" | "goal" | "better">): boolean {
  return better === "higher" ? ratio >= goal : ratio <= goal;
}

/** The middle value; the mean of the two middle ones of an even number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Runs both sides in turn, A B A B, as often each, and compares their rates. What disturbs the machine disturbs
 * both sides of a round alike, so that the median of the rounds' ratios stays put while the rates swing.
 *
 * @param scale What a rate is multiplied with: 1 for operations a second, bytes an operation for bytes a second.
 */
export async function rates(ours: Side, theirs: Side, effort: Effort, scale = 1): Promise<Measured> {
  const count = await countFor(effort.runMs, ours, theirs);
  const rounds: { ours: number; theirs: number }[] = [];
  for (let i = 0; i < effort.rounds; i++) {
    rounds.push({ ours: count / await ours(count) * 1e9, theirs: count / await theirs(count) * 1e9 });
  }
  return summary(rounds.map((r) => ({ ours: r.ours * scale, theirs: r.theirs * scale })));
}

/** The medians of rounds: of the ratios, and of each side. */
export function summary(rounds: readonly { ours: number; theirs: number }[]): Measured {
  return {
    ratio: median(rounds.map((r) => r.ours / r.theirs)),
    ours: median(rounds.map((r) => r.ours)),
    theirs: median(rounds.map((r) => r.theirs)),
  };
}

/** How many operations take about `ms` on the faster side; warms both up on the way. */
async function countFor(ms: number, ours: Side, theirs: Side): Promise<number> {
  for (let count = 1;; count *= 4) {
    const fastest = Math.min(await ours(count), await theirs(count));
    if (fastest >= ms * 1e6 / 2 || count >= 1 << 24) {
      return Math.max(1, Math.round(count * ms * 1e6 / fastest));
    }
  }
}
