/// <reference lib="deno.worker" />

/** How long the main thread may take to answer before the user is told, in milliseconds. */
const ANSWER_LIMIT = 1000;
/** And before the process is ended that was asked to end: a busy machine is no stuck thread. */
const END_LIMIT = 5000;

let unanswered: ReturnType<typeof setTimeout> | undefined;
let stuck = false;

function tell(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch {
    // The terminal is gone, and so is whoever could read it.
  }
}

function ask(whenStuck: () => void, limit: number): void {
  if (unanswered === undefined) unanswered = setTimeout(whenStuck, limit);
  self.postMessage("alive?");
}

self.onmessage = () => {
  clearTimeout(unanswered);
  unanswered = undefined;
  stuck = false;
};

/** Runs stty on the shell's terminal; undefined where there is none. */
function stty(...args: string[]): string | undefined {
  try {
    const { success, stdout } = new Deno.Command("stty", { args, stdin: "inherit", stderr: "null" })
      .outputSync();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a script runs, with nobody to ask and no line edited. */
const script = self.name === "script";

/** How the terminal was before a line was edited. */
const saved = script ? undefined : stty("-g");

/** Only another thread can end a stuck one, and only by this signal does nothing of it run on. */
function end(): void {
  if (saved !== undefined) stty(saved);
  tell("\nhvsh was ended while it was stuck.\n");
  Deno.kill(Deno.pid, "SIGKILL");
}

Deno.addSignalListener("SIGINT", () => {
  if (script) return ask(end, END_LIMIT);
  if (stuck) end();
  ask(() => {
    stuck = true;
    tell(
      "\nNothing else gets a turn: by code that never waits, or a hypervisor that does not answer. " +
        "Ctrl-C once more ends hvsh, and its own guests with it.\n",
    );
  }, ANSWER_LIMIT);
});

for (const signal of ["SIGTERM", "SIGHUP", "SIGQUIT"] as const) {
  Deno.addSignalListener(signal, () => ask(end, END_LIMIT));
}

self.postMessage("ready");
