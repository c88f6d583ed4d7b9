/** Going back in a guest whose run was recorded. */
import type { Backend } from "../vm/backend.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { BackendHistory, MachineHistory } from "../vm/history.ts";
import type { RunLoop, VcpuStop } from "../vm/loop.ts";
import type { RunLimit } from "../vm/machine.ts";
import type { Stop } from "../vm/stop.ts";
import type { RunControl } from "./control.ts";

/** Instructions of the first stretch that is looked through for hits, and how much longer each next one is. */
const SHORTEST = 100;
const LONGER = 32;

/** What is gone back in. */
export interface HistoryParts {
  readonly backend: Backend;
  readonly control: RunControl;
  readonly loop: RunLoop;
}

/** A machine's history, over what its backend has. */
export class History implements MachineHistory {
  readonly #parts: HistoryParts;

  constructor(parts: HistoryParts) {
    this.#parts = parts;
  }

  get usable(): boolean {
    return this.#parts.backend.history !== undefined;
  }

  get position(): number {
    this.#parts.control.requirePaused("history");
    return this.#recording.position;
  }

  get start(): number {
    return this.#recording.start;
  }

  get end(): number {
    return this.#recording.end;
  }

  async stepBack(count = 1): Promise<Stop> {
    if (!Number.isSafeInteger(count) || count < 0) {
      throw new InputError(`a number of steps is a whole number, not ${count}`);
    }
    const recording = this.#recording;
    return await this.#run(
      "reverse-step",
      () => this.#to(recording, Math.max(recording.start, recording.position - count)),
    );
  }

  async goto(position: number): Promise<Stop> {
    const recording = this.#recording;
    if (!Number.isSafeInteger(position) || position < recording.start || position > recording.end) {
      throw new InputError(
        `the recording has positions ${recording.start} to ${recording.end}, not ${position}`,
      );
    }
    return await this.#run("goto", () => this.#to(recording, position));
  }

  async continueBack(limit?: RunLimit): Promise<Stop> {
    const recording = this.#recording;
    return await this.#run("reverse-continue", () => this.#back(recording), limit);
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

  #run(what: string, body: () => Promise<VcpuStop>, limit?: RunLimit): Promise<Stop> {
    return this.#parts.control.run(what, body, limit);
  }

  readonly #goOn = () => this.#parts.loop.request === undefined;

  /** Seeks, and says how that ended. */
  async #to(recording: BackendHistory, position: number): Promise<VcpuStop> {
    const { control, loop } = this.#parts;
    await recording.seek(position, this.#goOn);
    control.forget();
    return { vcpu: control.current, cause: loop.request ?? { kind: "step" } };
  }

  /**
   * Forwards through the stretch before here, then the one before that: the last hit in one is the one. Short ones
   * first, since what is met often was met just now; then from each kept state to the next.
   */
  async #back(recording: BackendHistory): Promise<VcpuStop> {
    const { loop } = this.#parts;
    const { start: first } = recording;
    for (let end = recording.position, length = SHORTEST; end > first; length *= LONGER) {
      const start = Math.max(recording.keptBefore(end - 1), end - length);
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
    return await this.#to(recording, first);
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
