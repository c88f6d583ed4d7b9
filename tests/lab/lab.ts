import { Channel, type Outcome, type Streams } from "./channel.ts";
import { type ConsoleState, readConsole } from "./console.ts";
import { labEnvironment } from "./environment.ts";
import { LabError } from "./errors.ts";
import { destroy, type LabRecord, labsFolder, qemuProcess, readRecord, writeRecord } from "./folder.ts";
import type { TerminalSize } from "./guest/protocol.ts";
import type { LabKind } from "./qemu.ts";

/** What {@linkcode Lab.exec} may be told. */
export interface ExecOptions extends Partial<Streams> {
  /** The folder to run in; left out, the current one. */
  cwd?: string;
  /** Variables on top of those of {@linkcode labEnvironment}. */
  env?: Record<string, string>;
  /** Milliseconds until the command gets SIGTERM, and SIGKILL some seconds later. */
  timeoutMs?: number;
  /** Run it on a terminal. */
  terminal?: TerminalSize;
  /** Called with the running command, to send it signals and sizes. */
  started?: (command: RunningCommand) => void;
}

/** A command in a lab, as seen by who started it. */
export interface RunningCommand {
  /** Sends a signal to the command and all its children; it has some seconds to end before SIGKILL. */
  end(name: Deno.Signal): void;
  /** Tells it its terminal's new size. */
  resize(size: TerminalSize): void;
}

/** How a command in a lab ended. */
export interface ExecResult {
  /** Its exit code, 128 + n after signal n, 127 or 126 when it could not be run. */
  code: number;
  /** Whether it was ended because its time was over. */
  timedOut: boolean;
}

/** What a command gets to end by a signal before SIGKILL, and then to be gone. */
const GRACE_MS = 5000;
/** What the agent of a lab that is up may take to answer: every core may be busy. */
const HELLO_MS = 60_000;

/** A running lab. Commands are run in it with {@linkcode exec}; several at once are fine. */
export class Lab {
  readonly name: string;
  readonly folder: string;

  constructor(name: string) {
    this.name = name;
    this.folder = `${labsFolder()}/${name}`;
  }

  /**
   * A lab that runs, by name.
   *
   * @throws {LabError} If there is none of that name.
   */
  static find(name: string): Lab {
    const lab = new Lab(name);
    const record = /^[\w.-]+$/.test(name) ? readRecord(lab.folder) : null;
    if (record === null || qemuProcess(lab.folder, record) === null) {
      throw new LabError(`There is no running lab ${name}.`, {
        remedy: "See those that run with: deno task lab list",
      });
    }
    return lab;
  }

  /**
   * The lab's record.
   *
   * @throws {LabError} If the lab has been stopped.
   */
  get record(): LabRecord {
    const record = readRecord(this.folder);
    if (record === null) throw new LabError(`The lab ${this.name} has been stopped.`);
    return record;
  }

  get kind(): LabKind {
    return this.record.kind;
  }

  /** Notes what the lab's check of itself found. */
  note(check: string, vouched: boolean): void {
    writeRecord(this.folder, { ...this.record, check, vouched });
  }

  /**
   * Runs a command as root and passes its bytes on as they come.
   *
   * @throws {LabError} If the lab can't be reached or is lost while the command runs.
   */
  async exec(argv: string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { kind, tools } = this.record;
    using channel = await this.#connect();
    let timedOut = false;
    const timers: number[] = [];
    const end = (name: Deno.Signal) => {
      void channel.signal(name);
      timers.push(later(GRACE_MS, () => void channel.signal("SIGKILL")));
      // SIGKILL can't be ignored: if still nothing comes, the lab itself hangs.
      timers.push(later(3 * GRACE_MS, () => channel[Symbol.dispose]()));
    };
    if (options.timeoutMs !== undefined) {
      timers.push(later(options.timeoutMs, () => {
        timedOut = true;
        end("SIGTERM");
      }));
    }
    options.started?.({ end, resize: (size) => void channel.resize(size) });
    const { stdin, terminal } = options;
    const nothing = () => {};
    let outcome: Outcome | null;
    try {
      outcome = await channel.run({
        argv,
        cwd: options.cwd ?? Deno.cwd(),
        env: { ...labEnvironment(kind, Deno.env.toObject(), Deno.execPath(), tools), ...options.env },
        stdin: stdin !== undefined,
        ...(terminal && { terminal }),
      }, { stdout: options.stdout ?? nothing, stderr: options.stderr ?? nothing, ...(stdin && { stdin }) });
    } finally {
      timers.forEach(clearTimeout);
    }
    if (outcome === null) throw await this.lost();
    if (outcome.kind === "refused") {
      await options.stderr?.(new TextEncoder().encode(`${outcome.message}\n`));
    }
    return { code: outcome.code, timedOut };
  }

  /**
   * Runs a command and gathers what it prints.
   *
   * @param options As for {@linkcode exec}; `input` is given to the command as its standard input.
   */
  async output(
    argv: string[],
    options: ExecOptions & { input?: string } = {},
  ): Promise<ExecResult & { stdout: string; stderr: string }> {
    const text = { stdout: "", stderr: "" };
    const gather = (stream: "stdout" | "stderr") => {
      const decoder = new TextDecoder();
      return (bytes: Uint8Array) => void (text[stream] += decoder.decode(bytes, { stream: true }));
    };
    const { input, ...rest } = options;
    const result = await this.exec(argv, {
      stdout: gather("stdout"),
      stderr: gather("stderr"),
      ...(input !== undefined && { stdin: new Blob([input]).stream() }),
      ...rest,
    });
    return { ...result, ...text };
  }

  /** Ends the lab: shares are written back, QEMU is ended, the folder removed. A lab that is gone is fine. */
  async stop(): Promise<void> {
    const record = readRecord(this.folder);
    if (record !== null && qemuProcess(this.folder, record) !== null) {
      const abort = new AbortController();
      const timer = later(GRACE_MS, () => abort.abort());
      try {
        using channel = await Channel.open(this.folder, abort.signal);
        abort.signal.addEventListener("abort", () => channel[Symbol.dispose]());
        await channel.sync();
      } catch (error) {
        if (!(error instanceof LabError) && !(error instanceof Deno.errors.ConnectionRefused)) throw error;
        // It does not answer: it is ended all the same.
      } finally {
        clearTimeout(timer);
      }
    }
    await destroy(this.folder);
  }

  /** Why the lab does not answer any more, with the end of its console. */
  async lost(): Promise<LabError> {
    let state: ConsoleState;
    let lives: boolean;
    const started = Date.now();
    do {
      await new Promise((resolve) => setTimeout(resolve, 100));
      state = readConsole(this.folder);
      const record = readRecord(this.folder);
      lives = record !== null && qemuProcess(this.folder, record) !== null;
    } while (lives && state.panic === undefined && Date.now() - started < 3000);
    const why = state.panic
      ? `The lab's kernel panicked: ${state.panic}`
      : lives
      ? `The lab ${this.name} does not answer any more.`
      : `The lab ${this.name} is gone: its QEMU was killed or ended by itself.`;
    return new LabError(why, { stage: state.stage, console: state.tail });
  }

  async #connect(): Promise<Channel> {
    const abort = new AbortController();
    const timer = later(HELLO_MS, () => abort.abort());
    try {
      return await Channel.open(this.folder, abort.signal);
    } catch (error) {
      if (error instanceof LabError && error.remedy) throw error;
      throw await this.lost();
    } finally {
      clearTimeout(timer);
    }
  }
}

function later(ms: number, then: () => void): number {
  return setTimeout(then, ms) as unknown as number;
}
