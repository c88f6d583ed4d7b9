/**
 * Going back in a recording: QEMU replays it (docs/devel/replay.rst) from states that are kept on the way. Its own
 * `bc` and replay-seek are not used: they do not tell when they are done, and run to the end of the recording.
 *
 * A replay of QEMU 7.2 may stop for good. While it stands its main loop reads on in the log, past what was recorded
 * while the guest ran: if the timer of idle time fires in that (softmmu/icount.c, icount_warp_rt), a reading of its clock
 * is left over that nobody reads any more, and the next run waits for it. Who runs over that place without standing there
 * gets past it.
 *
 * Where its stop for us and a watchpoint's come at once, QEMU 7.2 may tell of ours alone, and take the watchpoint for hit
 * all the same (`watchpoint_hit` in softmmu/physmem.c): at the next hit it ends itself, with "Raised interrupt while not in
 * I/O function". The next stop of a debugger's makes it forget that: a step, before anything else.
 */
import { HvshError } from "../../vm/errors.ts";
import type { BackendHistory } from "../../vm/history.ts";
import { turn } from "../../vm/promise.ts";
import { GoneError } from "../gone.ts";
import type { Machine } from "../machine.ts";
import type { QmpConnection } from "../qmp.ts";
import type { StopReply } from "../stop_reply.ts";

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

const GO_ON = () => true;

/** Why a guest stopped. */
type Told = StopReply & { readonly kind: "signal" };

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
  /** A stop of ours may have come together with a watchpoint's. */
  #suspect = false;
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

  /**
   * QEMU stopped the guest without a breakpoint: whether it was told to, to keep a state or for the limit, or what a
   * watchpoint told meanwhile.
   */
  met(): boolean | Told {
    const at = this.position;
    this.#suspect = this.#machine.traps.watching;
    if (at >= this.limit) return true;
    if (at < this.#states.at(-1)! + STRIDE) return false;
    const told = this.#suspect ? this.#forget() : undefined;
    // Told of a watchpoint, the processor has a debug event before it still, which is no part of the recording.
    if (told === undefined && this.#states.length < MOST_STATES) this.#keep(this.position);
    return told ?? true;
  }

  /** A step, after which QEMU has forgotten of a watchpoint. @returns What that told. */
  #forget(): Told | undefined {
    const { session, vcpus } = this.#machine;
    this.#suspect = false;
    this.arm(true);
    session.resumeStep(vcpus[0], true);
    const told = session.poll(STALL_MS);
    if (told?.kind === "ended") throw new GoneError(told.reason);
    if (told?.watch !== undefined) {
      vcpus[0].echoes();
      return told;
    }
    session.halt();
    return undefined;
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

  /**
   * A replay that is stalled does its next instruction, past any breakpoints: from a kept state over that place, which
   * the guest comes to from the instruction before.
   *
   * @returns What a watchpoint told of it.
   * @throws {HvshError} If it can't.
   */
  async pass(): Promise<Told | undefined> {
    const at = this.position;
    if (at >= this.limit) return undefined;
    const { traps } = this.#machine;
    await this.#seek(Math.max(this.start, at - 1), GO_ON, true);
    const { limit } = this;
    const putBack = traps.suspend(false);
    try {
      // At the limit the two stops could come at once.
      this.limit++;
      if (traps.watching) {
        const told = await this.#watched(at);
        if (told !== undefined && this.position === at + 1) return told;
      }
    } finally {
      this.limit = limit;
      putBack();
    }
    await this.#seek(at + 1, GO_ON, true);
    return undefined;
  }

  /** Runs to what a watchpoint tells of behind `at`; not past a kept state or a stall. */
  async #watched(at: number): Promise<Told | undefined> {
    const { session } = this.#machine;
    while (this.arm(false)) {
      session.resume();
      let told: StopReply | undefined;
      while ((told = session.poll(SLICE_MS)) === undefined) {
        await turn();
        if (this.stalled) return undefined;
      }
      if (told.kind === "ended") throw new GoneError(told.reason);
      this.#suspect = told.watch === undefined;
      if (this.#suspect) return undefined;
      if (this.position > at) return told;
    }
    return undefined;
  }

  seek(position: number, goOn: () => boolean): Promise<void> {
    return this.#seek(position, goOn);
  }

  /** @param anew Whether not to go on from here, but from a state. */
  async #seek(position: number, goOn: () => boolean, anew = false): Promise<void> {
    const { session, traps } = this.#machine;
    const { limit } = this;
    const here = this.position;
    if (position === here && !anew) return;
    if (this.#suspect) {
      // Here there may be no instruction left.
      this.#load(this.keptBefore(here));
      this.#machine.revived();
      this.#forget();
    }
    const putBack = traps.suspend();
    try {
      const kept = this.keptBefore(position);
      if (anew || position < here || kept > here || this.position !== here) this.#load(kept);
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
