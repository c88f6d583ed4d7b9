/** Going back in a guest whose run was recorded. */
import type { Backend } from "../vm/backend.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { BackendHistory } from "../vm/history.ts";
import type { RunLoop, VcpuStop } from "../vm/loop.ts";
import type { Stop } from "../vm/stop.ts";
import type { RunControl } from "./control.ts";

/** What is gone back in. */
export interface HistoryParts {
  readonly backend: Backend;
  readonly control: RunControl;
  readonly loop: RunLoop;
}

/** The recorded run that a guest is in: `open({ backend: "qemu", replay })` has one. */
export class History {
  readonly #parts: HistoryParts;

  constructor(parts: HistoryParts) {
    this.#parts = parts;
  }

  /** Whether there is one. */
  get usable(): boolean {
    return this.#parts.backend.history !== undefined;
  }

  /** How many instructions have been done since the recording's start. @throws {UnsupportedError} Without one. */
  get position(): number {
    this.#parts.control.requirePaused("history");
    return this.#recording.position;
  }

  /** The last position that can be gone to. @throws {UnsupportedError} Without a recording. */
  get end(): number {
    return this.#recording.end;
  }

  /** Goes back by so many instructions, or to the start. @throws {UnsupportedError} Without a recording. */
  async stepBack(count = 1): Promise<Stop> {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new InputError(`a number of steps is a whole number, not ${count}`);
    }
    const recording = this.#recording;
    return await this.#run(
      "reverse-step",
      () => this.#to(recording, Math.max(0, recording.position - count)),
    );
  }

  /** Goes to a position, before or behind this one. @throws {InputError} If it is none of the recording. */
  async goto(position: number): Promise<Stop> {
    const recording = this.#recording;
    if (!Number.isSafeInteger(position) || position < 0 || position > recording.end) {
      throw new InputError(`the recording has positions 0 to ${recording.end}, not ${position}`);
    }
    return await this.#run("goto", () => this.#to(recording, position));
  }

  /**
   * Goes back to where a breakpoint or watchpoint was met last before here; to the start, with a `step` stop, if none
   * was. A watchpoint's stop is behind the instruction that touched it, as it is forwards. What is passed on the way
   * there and back counts as met: conditions are evaluated, hits counted.
   *
   * @throws {UnsupportedError} Without a recording.
   */
  async continueBack(): Promise<Stop> {
    const recording = this.#recording;
    return await this.#run("reverse-continue", () => this.#back(recording));
  }

  get #recording(): BackendHistory {
    const { history, capabilities } = this.#parts.backend;
    if (history !== undefined) return history;
    const row = capabilities.get("history");
    throw new UnsupportedError("history", row?.reason ?? "only QEMU records and replays what a guest does", {
      remedy: row?.remedy ??
        'open({ backend: "qemu", record: FOLDER }) records; replay: FOLDER in place of it goes to and fro',
    });
  }

  #run(what: string, body: () => Promise<VcpuStop>): Promise<Stop> {
    return this.#parts.control.run(what, body);
  }

  readonly #goOn = () => this.#parts.loop.request === undefined;

  /** Seeks, and says how that ended. */
  async #to(recording: BackendHistory, position: number): Promise<VcpuStop> {
    const { control, loop } = this.#parts;
    await recording.seek(position, this.#goOn);
    control.forget();
    return { vcpu: control.current, cause: loop.request ?? { kind: "step" } };
  }

  /** From each kept state forwards to the next, latest first: the last hit on the way is the one. */
  async #back(recording: BackendHistory): Promise<VcpuStop> {
    const { loop } = this.#parts;
    for (let end = recording.position; end > 0;) {
      const start = recording.keptBefore(end - 1);
      const asked = await this.#to(recording, start);
      if (loop.request !== undefined) return asked;
      const hit = await this.#lastHit(recording, end);
      if (loop.request !== undefined) return { ...asked, cause: loop.request };
      if (hit !== undefined) {
        const there = await this.#to(recording, hit.at);
        return loop.request === undefined ? hit.stopped : there;
      }
      end = start;
    }
    return await this.#to(recording, 0);
  }

  async #lastHit(recording: BackendHistory, end: number): Promise<Hit | undefined> {
    const { control, loop } = this.#parts;
    let last: Hit | undefined;
    recording.limit = end;
    try {
      for (;;) {
        const stopped = await control.go(last?.stopped.vcpu);
        const at = recording.position;
        if (loop.request !== undefined || at >= end) return last;
        const { kind } = stopped.cause;
        if (kind !== "breakpoint" && kind !== "watchpoint") return last;
        last = { stopped, at };
      }
    } finally {
      recording.limit = recording.end;
    }
  }
}

/** A stop on the way, and where. */
interface Hit {
  readonly stopped: VcpuStop;
  readonly at: number;
}
