/** Runs a command of a lab on this process's own standard streams, signals and terminal. */
import { TIMED_OUT } from "../tests/lab/errors.ts";
import type { Lab, RunningCommand } from "../tests/lab/lab.ts";

/** What {@linkcode runHere} may be told. */
export interface RunHereOptions {
  /** Give the command a terminal. */
  shell?: boolean;
  /** Seconds until it is ended. */
  timeout?: number;
}

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Calls `then` for each signal that asks this process to end, until removed. */
export function forwardSignals(then: (name: typeof SIGNALS[number]) => void): { remove(): void } {
  const listeners = SIGNALS.map((name) => ({ name, listener: () => then(name) }));
  for (const { name, listener } of listeners) Deno.addSignalListener(name, listener);
  return {
    remove: () => listeners.forEach(({ name, listener }) => Deno.removeSignalListener(name, listener)),
  };
}

/**
 * Runs the command and gives its exit code. Ctrl-C goes to the command, which has five seconds to end; on a terminal
 * it is a byte like others.
 *
 * @throws {LabError} If the lab is lost.
 */
export async function runHere(lab: Lab, argv: string[], options: RunHereOptions): Promise<number> {
  const raw = options.shell === true && Deno.stdin.isTerminal();
  let command: RunningCommand | undefined;
  const signals = forwardSignals((name) => command?.end(name));
  const resize = () => command?.resize(Deno.consoleSize());
  const before = raw ? stty("-g").trim() : "";
  if (raw) {
    // Deno's setRaw leaves output processing on, which would make two carriage returns of each line's end.
    stty("raw", "-echo");
    Deno.addSignalListener("SIGWINCH", resize);
  }
  try {
    const { code, timedOut } = await lab.exec(argv, {
      stdin: Deno.stdin.readable,
      stdout: (bytes) => writeAll(Deno.stdout, bytes),
      stderr: (bytes) => writeAll(Deno.stderr, bytes),
      started: (running) => command = running,
      ...(options.timeout !== undefined && { timeoutMs: options.timeout * 1000 }),
      ...(options.shell && { terminal: raw ? Deno.consoleSize() : { columns: 80, rows: 24 } }),
    });
    if (!timedOut) return code;
    console.error(`The command was ended after ${options.timeout} s.`);
    return TIMED_OUT;
  } catch (error) {
    if (error instanceof Deno.errors.BrokenPipe) return 128 + 13; // as a program that SIGPIPE ended
    throw error;
  } finally {
    signals.remove();
    if (raw) {
      Deno.removeSignalListener("SIGWINCH", resize);
      stty(before);
    }
  }
}

/** Runs stty(1) on our terminal and gives what it prints. */
function stty(...args: string[]): string {
  const { stdout } = new Deno.Command("stty", { args, stdin: "inherit" }).outputSync();
  return new TextDecoder().decode(stdout);
}

async function writeAll(to: { write(bytes: Uint8Array): Promise<number> }, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await to.write(bytes.subarray(done));
}
