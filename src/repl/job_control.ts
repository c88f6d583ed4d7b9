/** Ctrl-Z: the shell is stopped as every program is, with the terminal as it was, and goes on after `fg`. */

import { holdPrograms } from "../dsl/programs.ts";

/** What happens to the terminal. */
export interface StopParts {
  /** Gives it back, before the process stops. */
  release(): void;
  /** Takes it again. */
  take(): void;
  /** Says why it can't be. */
  refuse(text: string): void;
}

/** How long after `fg` another SIGTSTP may be the echo of the first, in milliseconds: a busy host takes its time. */
const ECHO_MS = 3_000;

/** SIGTSTP's bit in the masks of proc(5): signal 20. */
const SIGTSTP_BIT = 1n << 19n;

/**
 * Stops all of the process group. `deno task` and npx stand between us and the user's shell and would not stop by
 * themselves: `deno task` takes SIGTSTP to hand it on. So the group gets SIGSTOP, which nobody can take.
 */
export class JobControl implements Disposable {
  readonly #parts: StopParts;
  /** Whether the signal that stopped us comes once more. */
  #echoDue = false;
  #wentOn = -Infinity;
  readonly #onStop = () => this.#signalled();
  readonly #onContinue = () => this.#parts.take();

  constructor(parts: StopParts) {
    this.#parts = parts;
    // The signal, while a command runs; while a line is typed Ctrl-Z is a key.
    Deno.addSignalListener("SIGTSTP", this.#onStop);
    Deno.addSignalListener("SIGCONT", this.#onContinue);
  }

  /** The terminal sent SIGTSTP to all of the group: `deno task` hands its own on to us, mostly after `fg`. */
  #signalled(): void {
    const echo = this.#echoDue && performance.now() - this.#wentOn < ECHO_MS;
    this.#echoDue = false;
    if (echo) return;
    const above = parentsInGroup();
    if (!this.#stop(above)) return;
    this.#echoDue = above?.pids.some(catchesStop) ?? false;
  }

  /** Stops the process group, if there is somebody who can let it go on. */
  stop(): void {
    this.#stop(parentsInGroup());
  }

  #stop(above: Parents | undefined): boolean {
    if (!above?.jobControl) {
      this.#parts.refuse("Nobody could let hvsh go on after Ctrl-Z: no shell with job control started it.\n");
      return false;
    }
    this.#parts.release();
    using _held = holdPrograms();
    // It returns when we go on.
    Deno.kill(0, "SIGSTOP");
    this.#wentOn = performance.now();
    return true;
  }

  /** Ctrl-Z is the system's again. */
  [Symbol.dispose](): void {
    Deno.removeSignalListener("SIGTSTP", this.#onStop);
    Deno.removeSignalListener("SIGCONT", this.#onContinue);
  }
}

/** A process's parent, group and session. */
function placeOf(pid: number | "self"): { parent: number; group: number; session: number } {
  const status = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // proc(5): pid (comm) state ppid pgrp session; comm may hold anything.
  const [, parent, group, session] = status.slice(status.lastIndexOf(")") + 2).split(" ").map(Number);
  return { parent, group, session };
}

/** What is between us and who started our process group. */
interface Parents {
  /** Our ancestors in the group. */
  readonly pids: readonly number[];
  /**
   * Whether our group is a job: its first parent outside is of the same session. Otherwise the group is orphaned
   * (POSIX.1, 3.269), and what stops in it would never go on.
   */
  readonly jobControl: boolean;
}

/** Without /proc nobody knows: undefined. A stop that can't be undone is the worse mistake. */
function parentsInGroup(): Parents | undefined {
  try {
    const self = placeOf("self");
    const pids: number[] = [];
    for (let { parent } = self; parent > 0;) {
      const place = placeOf(parent);
      if (place.group !== self.group) return { pids, jobControl: place.session === self.session };
      pids.push(parent);
      parent = place.parent;
    }
    return { pids, jobControl: false };
  } catch {
    return undefined;
  }
}

/** Whether a process takes SIGTSTP itself, as those do that hand it on. */
function catchesStop(pid: number): boolean {
  try {
    const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1] ?? "0";
    return (BigInt(`0x${mask}`) & SIGTSTP_BIT) !== 0n;
  } catch {
    // It ended meanwhile.
    return false;
  }
}
