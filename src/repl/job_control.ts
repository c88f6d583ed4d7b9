/** Ctrl-Z: the shell is stopped as every program is, with the terminal as it was, and goes on after `fg`. */

/** What happens to the terminal. */
export interface StopParts {
  /** Gives it back, before the process stops. */
  release(): void;
  /** Takes it again. */
  take(): void;
  /** Says why it can't be. */
  refuse(text: string): void;
}

/** How long after `fg` another SIGTSTP is the echo of the first, in milliseconds. */
const ECHO_MS = 500;

/**
 * Stops all of the process group. `deno task` and npx stand between us and the user's shell and would not stop by
 * themselves: `deno task` takes SIGTSTP to hand it on. So the group gets SIGSTOP, which nobody can take.
 */
export class JobControl implements Disposable {
  readonly #parts: StopParts;
  #wentOn = -Infinity;
  readonly #onStop = () => this.stop();
  readonly #onContinue = () => {
    this.#wentOn = performance.now();
    this.#parts.take();
  };

  constructor(parts: StopParts) {
    this.#parts = parts;
    // The signal, while a command runs; while a line is typed Ctrl-Z is a key.
    Deno.addSignalListener("SIGTSTP", this.#onStop);
    Deno.addSignalListener("SIGCONT", this.#onContinue);
  }

  /** Stops the process group, if there is somebody who can let it go on. */
  stop(): void {
    // `deno task` hands on, after `fg`, the signal that it got with us.
    if (performance.now() - this.#wentOn < ECHO_MS) return;
    if (!hasJobControl()) {
      this.#parts.refuse("Nobody could let hvsh go on after Ctrl-Z: no shell with job control started it.\n");
      return;
    }
    this.#parts.release();
    Deno.kill(0, "SIGSTOP");
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

/**
 * Whether our group is a job: its first parent outside is of the same session. Otherwise the group is orphaned
 * (POSIX.1, 3.269), and what stops in it would never go on.
 */
function hasJobControl(): boolean {
  try {
    const self = placeOf("self");
    let { parent } = self;
    while (parent > 0) {
      const place = placeOf(parent);
      if (place.group !== self.group) return place.session === self.session;
      parent = place.parent;
    }
    return false;
  } catch {
    // Without /proc nobody knows; a stop that can't be undone is the worse mistake.
    return false;
  }
}
