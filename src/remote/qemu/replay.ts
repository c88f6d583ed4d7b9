/**
 * Going back in a recording: QEMU replays it (docs/devel/replay.rst) from states that are kept on the way. Its own
 * `bc` and replay-seek are not used: they do not tell when they are done, and run to the end of the recording.
 */
import { HvshError } from "../../vm/errors.ts";
import type { BackendHistory } from "../../vm/history.ts";
import { turn } from "../../vm/promise.ts";
import type { Machine } from "../machine.ts";
import type { QmpConnection } from "../qmp.ts";

/** Instructions between two states: one to two seconds of replay. */
const STRIDE = 50_000_000;
/** Each takes the memory that the guest uses. */
const MOST_STATES = 64;
const SLICE_MS = 5;
/** How the states are called in QEMU. */
const NAME = "hvsh-at-";

/** The replay in one QEMU. */
export class QemuReplay implements BackendHistory {
  readonly end: number;
  limit: number;
  readonly #machine: Machine;
  readonly #qmp: QmpConnection;
  /** Positions of the states that are kept, ascending. */
  readonly #states: number[] = [];
  #armed = false;

  constructor(machine: Machine, qmp: QmpConnection, end: number) {
    this.#machine = machine;
    this.#qmp = qmp;
    this.end = this.limit = end;
  }

  get position(): number {
    this.#machine.session.halt();
    return (this.#qmp.execute("query-replay") as { icount: number }).icount;
  }

  get start(): number {
    if (this.#states.length === 0) this.#keep(this.position);
    return this.#states[0];
  }

  keptBefore(position: number): number {
    return this.#states.findLast((at) => at <= position) ?? this.start;
  }

  /**
   * The guest is about to run, or to do one step.
   *
   * @returns False if it has come to the limit.
   */
  arm(stepping: boolean): boolean {
    const at = this.position;
    const newest = Math.max(this.start, this.#states.at(-1)!);
    if (at >= this.limit) return false;
    if (!stepping) this.#stopAt(Math.min(this.limit, Math.max(at, newest) + STRIDE));
    else if (this.#armed) {
      this.#qmp.execute("replay-delete-break");
      this.#armed = false;
    }
    return true;
  }

  /** QEMU stopped the guest without a breakpoint: whether it was told to, to keep a state or for the limit. */
  met(): boolean {
    const at = this.position;
    if (at >= this.limit) return true;
    const due = this.#states.at(-1)! + STRIDE;
    if (at >= due && this.#states.length < MOST_STATES) this.#keep(at);
    return at >= due;
  }

  async seek(position: number, goOn: () => boolean): Promise<void> {
    const { session, traps } = this.#machine;
    const { limit } = this;
    const here = this.position;
    if (position === here) return;
    const putBack = traps.suspend();
    try {
      const kept = this.keptBefore(position);
      if (position < here || kept > here) this.#said("load a state", `loadvm ${NAME}${kept}`);
      this.#machine.revived();
      this.limit = position;
      while (this.arm(false)) {
        session.resume();
        while (session.poll(SLICE_MS) === undefined && goOn()) await turn();
        if (!goOn()) return;
        this.met();
      }
    } finally {
      this.limit = limit;
      session.halt();
      this.#machine.revived();
      putBack();
    }
  }

  #stopAt(icount: number): void {
    this.#qmp.execute("replay-break", { icount });
    this.#armed = true;
  }

  #keep(at: number): void {
    this.#said("keep a state", `savevm ${NAME}${at}`);
    this.#states.push(at);
  }

  /** The human monitor says nothing if all is well. */
  #said(what: string, line: string): void {
    const text = this.#qmp.monitor(line).trim();
    if (text === "") return;
    throw new HvshError(`QEMU can't ${what} of this replay: ${text}`, { remedy: "open the recording anew" });
  }
}
