/**
 * The program that runs commands inside a lab for the host. It serves each pair of virtio-serial ports on its own:
 * one client at a time, one command at a time. It imports nothing but the protocol, so that it starts fast and alone.
 */
import {
  CHANNELS,
  encodeLine,
  type FromAgent,
  LineReader,
  type RunRequest,
  type TerminalSize,
  type ToAgent,
} from "./protocol.ts";

/** One channel's two ports, as the agent sees them. */
export interface Port {
  /** The next bytes from the host, or null while no host is connected. */
  read(): Promise<Uint8Array | null>;
  /** Writes all of it; waits while the host is slow or away. */
  write(bytes: Uint8Array): Promise<void>;
}

/** What differs between a lab and a test of the agent. */
export interface Surroundings {
  /** Resolves when the lab is set up; a hello is answered only then. */
  ready(): Promise<void>;
  /** Forget what is remembered of the host's files. */
  freshen(): void;
  /** Write dirty pages of the shares back. */
  sync(): Promise<void>;
  /** Whether to go on when the host has hung up: a lab does, a test ends there. */
  waitForNextClient(): Promise<boolean>;
  /** A folder for the names of terminals. */
  folder: string;
}

/** After a command has ended, output of what it left running is waited for while it keeps coming this often. */
const QUIET_MS = 300;
/** What a command gets to end by SIGHUP when its client is gone, before SIGKILL. */
const HANGUP_MS = 2000;

/** Serves one channel until {@linkcode Surroundings.waitForNextClient} says no. */
export async function serve(port: Port, around: Surroundings): Promise<void> {
  const reader = new LineReader(() => port.read());
  let command: Command | undefined;
  let hello = "";
  const commands = new Set<Promise<void>>();
  const send = sender(port);
  while (true) {
    const line = await reader.line();
    if (line === null) {
      command?.hangUp();
      command = undefined;
      hello = "";
      reader.clear();
      if (await around.waitForNextClient()) continue;
      await Promise.all(commands);
      return;
    }
    const message = parse(line);
    if (message === undefined) continue;
    if (message.kind === "hello") {
      command?.hangUp();
      command = undefined;
      hello = message.nonce;
      await around.ready();
      // Not awaited: the host may be gone again, and its next client's hello must not wait for that.
      void send({ kind: "hello", nonce: hello });
    } else if (hello === "") {
      continue;
    } else if (message.kind === "run") {
      command?.hangUp();
      around.freshen();
      command = await Command.start(message.run, send, around.folder);
      const { done } = command ?? {};
      if (done) {
        commands.add(done);
        void done.then(() => commands.delete(done));
      }
    } else if (message.kind === "sync") {
      void around.sync().then(() => send({ kind: "synced" }));
    } else {
      command?.take(message);
    }
  }
}

type Send = (message: FromAgent, payload?: Uint8Array) => Promise<void>;

/** Sends whole messages one after the other, whoever asks. */
function sender(port: Port): Send {
  let last = Promise.resolve();
  return (message, payload) => {
    const head = encodeLine(message);
    const bytes = new Uint8Array(head.length + (payload?.length ?? 0));
    bytes.set(head);
    if (payload) bytes.set(payload, head.length);
    last = last.then(() => port.write(bytes));
    return last;
  };
}

function parse(line: string): ToAgent | undefined {
  try {
    return JSON.parse(line) as ToAgent;
  } catch {
    return undefined; // the rest of a line whose client left
  }
}

/** A running command. */
class Command {
  /** Resolves when it, and all it left running that holds its output, has ended. */
  readonly done: Promise<void>;
  readonly #child: Deno.ChildProcess;
  readonly #terminal?: string;
  readonly #send: Send;
  #stdin?: WritableStreamDefaultWriter<Uint8Array>;
  /** Everything asked of standard input, in order. */
  #writes = Promise.resolve();
  #ended = false;
  #abandoned = false;
  #heard = 0;
  #sending = 0;

  private constructor(child: Deno.ChildProcess, stdin: boolean, send: Send, terminal?: string) {
    this.#child = child;
    // When the client is gone, what still comes is read and dropped: the next client must not get it.
    this.#send = (message, payload) => this.#abandoned ? Promise.resolve() : send(message, payload);
    this.#terminal = terminal;
    if (stdin) this.#stdin = child.stdin.getWriter();
    this.done = this.#run();
  }

  static async start(run: RunRequest, send: Send, folder: string): Promise<Command | undefined> {
    const terminal = run.terminal && `${folder}/terminal-${crypto.randomUUID()}`;
    const argv = run.terminal && terminal ? onTerminal(run.argv, run.terminal, terminal) : run.argv;
    try {
      if (!(await Deno.stat(run.cwd)).isDirectory) throw new Error("not a folder");
    } catch {
      await send({ kind: "refused", code: 126, message: `There is no folder ${run.cwd} in the lab.` });
      return undefined;
    }
    try {
      const child = new Deno.Command(argv[0], {
        args: argv.slice(1),
        cwd: run.cwd,
        env: run.env,
        clearEnv: true,
        detached: true, // a process group of its own, so that signals reach all of it
        stdin: run.stdin ? "piped" : "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      void send({ kind: "started", pid: child.pid });
      return new Command(child, run.stdin, send, terminal);
    } catch (error) {
      const code = error instanceof Deno.errors.NotFound ? 127 : 126;
      const why = error instanceof Error ? error.message : String(error);
      await send({ kind: "refused", code, message: `Could not run ${run.argv[0]}: ${why}` });
      return undefined;
    }
  }

  take(message: ToAgent): void {
    switch (message.kind) {
      case "stdin":
        this.#write(Uint8Array.fromBase64(message.data));
        break;
      case "stdin-end":
        this.#writes = this.#writes.then(() => this.#stdin?.close()).catch(() => {});
        break;
      case "signal":
        this.#signal(message.name);
        break;
      case "resize":
        this.#resize(message.size);
        break;
    }
  }

  /** The client is gone: so must the command be. */
  hangUp(): void {
    this.#abandoned = true;
    if (this.#ended) return;
    this.#signal("SIGHUP");
    const timer = setTimeout(() => this.#signal("SIGKILL"), HANGUP_MS);
    void this.done.then(() => clearTimeout(timer));
  }

  #write(bytes: Uint8Array): void {
    this.#writes = this.#writes
      .then(() => this.#stdin?.write(bytes))
      .catch(() => {}) // the command closed its standard input; the bytes are lost as in a pipe
      .then(() => this.#send({ kind: "taken", bytes: bytes.length }));
  }

  #signal(name: Deno.Signal): void {
    try {
      Deno.kill(-this.#child.pid, name);
    } catch {
      // it has just ended
    }
  }

  /** stty on the terminal's name sends SIGWINCH to what runs there. */
  #resize({ columns, rows }: TerminalSize): void {
    if (this.#terminal === undefined) return;
    try {
      const name = Deno.readTextFileSync(this.#terminal).trim();
      new Deno.Command("stty", { args: ["-F", name, "cols", `${columns}`, "rows", `${rows}`] }).outputSync();
    } catch {
      // not started yet, or ended
    }
  }

  async #run(): Promise<void> {
    const pumps = Promise.all([
      this.#pump(this.#child.stdout, "stdout"),
      this.#pump(this.#child.stderr, "stderr"),
    ]);
    const { code, signal } = await this.#child.status;
    this.#ended = true;
    const closed = this.#stdin?.close().catch(() => {}); // not awaited here: someone may still have it open, full
    // What the command left in the background may hold its output open for ever: that it is quiet is enough, unless
    // it only waits for a slow host.
    this.#heard = Date.now();
    const quiet = Promise.withResolvers<void>();
    const timer = setInterval(() => {
      if (this.#sending === 0 && Date.now() - this.#heard >= QUIET_MS) quiet.resolve();
    }, QUIET_MS / 4);
    await Promise.race([pumps, quiet.promise]);
    clearInterval(timer);
    if (this.#terminal !== undefined) await Deno.remove(this.#terminal).catch(() => {});
    await this.#send({ kind: "exit", code, signal });
    // What is left running may go on writing: it is read, so that it neither blocks nor dies, and belongs to nobody.
    this.#abandoned = true;
    await Promise.all([pumps, closed]);
  }

  async #pump(from: ReadableStream<Uint8Array>, stream: "stdout" | "stderr"): Promise<void> {
    for await (const piece of from) {
      this.#sending++;
      await this.#send({ kind: "data", stream, bytes: piece.length }, piece);
      this.#sending--;
      this.#heard = Date.now();
    }
  }
}

/** script(1) gives the command a pty; the shell in it sets the size and notes the pty's name for later sizes. */
function onTerminal(argv: string[], size: TerminalSize, note: string): string[] {
  const words = argv.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(" ");
  const line = `stty cols ${Number(size.columns)} rows ${Number(size.rows)}; tty >${note}; exec ${words}`;
  return ["script", "--quiet", "--return", "--echo", "always", "--command", line, "/dev/null"];
}

/** The lab's side of a channel: a virtio-serial port gives 0 bytes while no host is connected. */
function virtioPort(input: Deno.FsFile, output: Deno.FsFile): Port {
  const buffer = new Uint8Array(64 * 1024);
  return {
    async read() {
      const count = await input.read(buffer);
      return count === null || count === 0 ? null : buffer.slice(0, count);
    },
    async write(bytes) {
      // The driver takes 32 KiB at a time.
      for (let done = 0; done < bytes.length;) done += await output.write(bytes.subarray(done));
    },
  };
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

async function main(): Promise<void> {
  const devices = new Map<string, string>();
  for (const { name } of Deno.readDirSync("/sys/class/virtio-ports")) {
    devices.set(Deno.readTextFileSync(`/sys/class/virtio-ports/${name}/name`).trim(), `/dev/${name}`);
  }
  const open = (name: string, options: Deno.OpenOptions) => Deno.openSync(devices.get(name) ?? name, options);
  const around: Surroundings = {
    async ready() {
      while (!(await exists("/run/lab/ready"))) await pause(50);
    },
    // 2: names and inodes that are not in use. The overlay then asks the share anew, and a changed file is seen.
    freshen: () => Deno.writeTextFileSync("/proc/sys/vm/drop_caches", "2"),
    async sync() {
      await new Deno.Command("sync").output();
    },
    async waitForNextClient() {
      // Four channels that are looked at twenty times a second took half of one of the lab's processors under TCG.
      await pause(400);
      return true;
    },
    folder: "/run/lab",
  };
  await Promise.all(Array.from({ length: CHANNELS }, (_, n) => {
    const port = virtioPort(open(`in${n}`, { read: true }), open(`out${n}`, { write: true }));
    return serve(port, around);
  }));
}

if (import.meta.main) await main();
