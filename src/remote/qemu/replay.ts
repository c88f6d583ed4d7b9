/**
 * Going back in a recording: QEMU replays it (docs/devel/replay.rst) from states that are kept on the way. Its own
 * `bc` and replay-seek are not used: they do not tell when they are done, and run to the end of the recording.
 *
 * A replay of QEMU 7.2 may stop for good. While it stands its main loop reads on in the log, past what was recorded
 * while the guest ran: if the timer of idle time fires in that (softmmu/icount.c, icount_warp_rt), a reading of its clock
 * is left over that nobody reads any more, and the next run waits for it. Who runs over that place without standing there
 * gets past it.
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
/**
 * How often it is looked whether a replay goes on, and how long it may not: it waits for nothing but the processor, which
 * a busy host may keep from it. Twice as long with each try.
 */
const LOOK_MS = 100;
const STALL_MS = 1_000;
/** How often it is begun anew from a state until it is given up. */
const MOST_TRIES = 3;
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
  /** Where the replay was seen last, since when, and when it is looked again. */
  #seen = { at: 0, since: 0, again: 0 };
  /** Where the guest stood before it was let run, or stepped. */
  #from = 0;
  /** How often in a row it was begun anew. */
  #tries = 0;

  constructor(machine: Machine, qmp: QmpConnection, end: number) {
    this.#machine = machine;
    this.#qmp = qmp;
    this.end = this.limit = end;
  }

  get position(): number {
    this.#machine.session.halt();
    return this.#reached;
  }

  get #reached(): number {
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
    const now = performance.now();
    this.#from = at;
    this.#seen = { at, since: now, again: now + LOOK_MS };
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

  /** Asked while the guest runs: whether it has stopped to go on, though nothing stopped it. */
  get stalled(): boolean {
    const now = performance.now();
    if (now < this.#seen.again) return false;
    this.#seen.again = now + LOOK_MS;
    const at = this.#reached;
    if (at !== this.#seen.at) this.#seen = { ...this.#seen, at, since: now };
    return now - this.#seen.since >= STALL_MS << this.#tries;
  }

  /** Whether anything was executed since the guest was let run. */
  get moved(): boolean {
    return this.position !== this.#from;
  }

  /** A replay that is stalled does its next instruction, past any traps. @throws {HvshError} If it can't. */
  async pass(): Promise<void> {
    const at = this.position;
    if (at < this.limit) await this.#seek(at + 1, () => true, true);
  }

  seek(position: number, goOn: () => boolean): Promise<void> {
    return this.#seek(position, goOn);
  }

  /** @param anew Whether not to go on from here, but from a state. */
  async #seek(position: number, goOn: () => boolean, anew = false): Promise<void> {
    const { session, traps } = this.#machine;
    const { limit } = this;
    const here = this.position;
    if (position === here) return;
    const putBack = traps.suspend();
    try {
      const kept = this.keptBefore(position);
      if (anew || position < here || kept > here) this.#load(kept);
      this.#machine.revived();
      this.limit = position;
      while (this.arm(false)) {
        session.resume();
        let stalled = false;
        while (session.poll(SLICE_MS) === undefined && goOn() && !stalled) {
          await turn();
          stalled = this.stalled;
        }
        if (!goOn()) return;
        if (stalled) this.#again();
        else this.met();
      }
    } finally {
      this.#tries = 0;
      this.limit = limit;
      session.halt();
      this.#machine.revived();
      putBack();
    }
  }

  /** Once more from a state: the newest before where it stalled, an older one each time it stalls again. */
  #again(): void {
    const at = this.position;
    if (++this.#tries > MOST_TRIES) {
      throw new HvshError(`QEMU's replay does not go on at instruction ${at}`, {
        remedy: "go back to before it, or open the recording anew",
      });
    }
    const before = this.#states.filter((state) => state <= at);
    this.#load(before.at(-this.#tries) ?? before[0]);
    this.#machine.revived();
  }

  #load(kept: number): void {
    this.#said("load a state", `loadvm ${NAME}${kept}`);
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
