/** A program of the host that must not outlive hvsh. */
import { HostError } from "./error.ts";

/** How much of what it writes to standard error is kept: the end. */
const KEPT = 16 * 1024;

/** Where util-linux puts setpriv, which asks the kernel to end a program with its parent (PR_SET_PDEATHSIG). */
const SETPRIV = ["/usr/bin/setpriv", "/bin/setpriv"] as const;

/** Finds setpriv; undefined if this host has none. */
export function findSetpriv(): string | undefined {
  return SETPRIV.find(isFile);
}

/** Finds a program in the folders of PATH. */
export function findProgram(name: string): string | undefined {
  if (name.includes("/")) return isFile(name) ? name : undefined;
  const folders = (Deno.env.get("PATH") ?? "").split(":").filter((folder) => folder !== "");
  return folders.map((folder) => `${folder}/${name}`).find(isFile);
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return false;
    if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotADirectory) {
      return false;
    }
    throw error;
  }
}

/** Programs that run, as far as the event loop has seen. */
const running = new Set<Deno.ChildProcess>();

/**
 * Stops all programs that `HostChild` has started, until disposed: Ctrl-Z does not reach them, since they are in
 * sessions of their own.
 */
export function holdChildren(): Disposable {
  const held = [...running];
  for (const child of held) signal(child, "SIGSTOP");
  return {
    [Symbol.dispose]() {
      for (const child of held) signal(child, "SIGCONT");
    },
  };
}

/** Sends a signal to a program that may have ended by itself a moment ago. */
function signal(child: Deno.ChildProcess, name: Deno.Signal): void {
  try {
    child.kill(name);
  } catch (error) {
    if (!(error instanceof TypeError) && !(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** A running program. The kernel kills it when this thread ends, however that happens. */
export class HostChild implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  readonly #status: Promise<Deno.CommandStatus>;
  #errors = "";
  #over: Deno.CommandStatus | undefined;

  /**
   * Starts it, with nothing on standard input and its standard output thrown away.
   *
   * @throws {HostError} If there is no setpriv, or it can't be started.
   */
  constructor(program: string, args: readonly string[]) {
    const setpriv = findSetpriv();
    if (setpriv === undefined) {
      throw new HostError("setpriv", 0, { remedy: "Install util-linux, which has it." });
    }
    this.#child = new Deno.Command(setpriv, {
      args: ["--pdeathsig", "KILL", program, ...args],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      // A session of its own: Ctrl-C in the terminal is sent to all of hvsh's group, and QEMU would end by it.
      detached: true,
    }).spawn();
    this.#reading = this.#read();
    running.add(this.#child);
    this.#status = this.#child.status.then((status) => {
      running.delete(this.#child);
      return this.#over = status;
    });
    // A program that runs on does not keep hvsh from ending: it ends with it.
    this.#child.unref();
  }

  /** Its process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** How it ended; undefined while it runs, as far as the event loop has seen. */
  get over(): Deno.CommandStatus | undefined {
    return this.#over;
  }

  /** The end of what it wrote to standard error, as far as the event loop has read it. */
  get errors(): string {
    return this.#errors;
  }

  /** Whether it runs, as the kernel says now: without waiting for the event loop. */
  get alive(): boolean {
    try {
      // "PID (name) STATE ...": Z is one that has ended and was not asked for its status yet.
      return !/\) [ZX] /.test(Deno.readTextFileSync(`/proc/${this.#child.pid}/stat`));
    } catch {
      return false;
    }
  }

  /** Asks it to end, and does not wait for that. */
  terminate(): void {
    if (this.#over === undefined && this.alive) this.#child.kill("SIGTERM");
  }

  /** Waits until it has ended and all it wrote was read. */
  async ended(): Promise<Deno.CommandStatus> {
    this.#child.ref();
    const status = await this.#status;
    await this.#reading;
    return status;
  }

  /** Kills it, and waits for its end. Idempotent. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over === undefined) signal(this.#child, "SIGKILL");
    await this.ended();
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#child.stderr) {
      this.#errors = (this.#errors + decoder.decode(chunk, { stream: true })).slice(-KEPT);
    }
  }
}
