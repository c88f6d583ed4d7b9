/** Two guests with Debian's kernel, one on hvsh and one on QEMU's `microvm`, that are measured in turn. */
import type { Device } from "../../mod.ts";
import { type Measured, summary } from "../figure.ts";
import { type Asked, askedOnHvsh, askedOnQemu, linuxFiles } from "./guest.ts";

export type { Asked };

/** What is measured. */
export interface Pair {
  /** Debian's packages that the guests have, and modules of the kernel. */
  readonly packages: readonly string[];
  readonly modules: readonly string[];
  /** Lines for busybox's shell, run by both before anything is measured. */
  readonly setup?: string;
  /** What hvsh's guest has beside its root, and QEMU's. */
  devices(): readonly Device[];
  readonly qemu: readonly string[];
  /** Numbers, of which more is better. */
  readonly cases: readonly {
    readonly name: string;
    /** @param side 0 for hvsh's guest, 1 for QEMU's. */
    measure(guest: Asked, side: 0 | 1): Promise<number>;
  }[];
}

/**
 * Rounds of hvsh's guest before it is measured. What a device does in TypeScript is interpreted at first, and compiled
 * once it has been done some ten thousand times: a second's work on an ordinary host, most of a minute's in a lab.
 */
const WARM_UP = 4;

/**
 * Boots both, then measures each case on one and the other, `rounds` times. A case's ratio is the median of its
 * rounds' ratios; the case with the lowest is the figure, and all are told.
 */
export async function inTurn(rounds: number, pair: Pair): Promise<Measured> {
  const folder = await Deno.makeTempDir();
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => Deno.remove(folder, { recursive: true }));
  const files = await linuxFiles(folder, pair);
  cleanup.defer(() => Deno.remove(files.root.slice(0, files.root.lastIndexOf("/")), { recursive: true }));
  const ours = cleanup.use(await askedOnHvsh(files, pair.devices()));
  const theirs = cleanup.use(await askedOnQemu(files, pair.qemu));
  const measured = pair.cases.map(() => [] as { ours: number; theirs: number }[]);
  for (let round = -WARM_UP; round < rounds; round++) {
    for (const [i, { measure }] of pair.cases.entries()) {
      if (round < 0) await measure(ours, 0);
      else measured[i].push({ ours: await measure(ours, 0), theirs: await measure(theirs, 1) });
    }
  }
  const results = measured.map((each, i) => ({ name: pair.cases[i].name, ...summary(each) }));
  const worst = results.reduce((a, b) => b.ratio < a.ratio ? b : a);
  return { ...worst, on: results.map(({ name, ratio }) => `${name}: ${ratio.toPrecision(3)}`).join(", ") };
}
