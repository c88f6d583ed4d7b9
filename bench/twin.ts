/** C programs that do the same work: built when they are needed, asked in turn with hvsh. */

import { fileURLToPath } from "node:url";
import { Obstacle, type Side } from "./figure.ts";

const SOURCES = new URL("./twins/", import.meta.url);
/** Ignored by git. */
const BUILT = new URL("../build/bench/", import.meta.url);

/** A twin that runs and waits to be asked. */
export class Twin implements AsyncDisposable {
  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #reader: ReadableStreamDefaultReader<string>;
  #rest = "";

  private constructor(name: string, child: Deno.ChildProcess) {
    this.#name = name;
    this.#child = child;
    this.#writer = child.stdin.getWriter();
    this.#reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /**
   * Builds `twins/NAME.c` with `cc -O2` and starts it.
   *
   * @param settings What it is told as NAME=VALUE.
   * @param libraries As `cc` takes them: "-lxenctrl".
   * @throws {Obstacle} If there is no compiler, or it finds an error.
   */
  static async start(
    name: string,
    settings: Record<string, string | number>,
    libraries: readonly string[] = [],
  ): Promise<Twin> {
    const program = await build(name, libraries);
    const args = Object.entries(settings).map(([key, value]) => `${key}=${value}`);
    const child = new Deno.Command(program, { args, stdin: "piped", stdout: "piped" }).spawn();
    return new Twin(name, child);
  }

  /** Lets it work `count` times. */
  readonly run: Side = async (count) => {
    await this.#writer.write(new TextEncoder().encode(`run ${count}\n`));
    for (;;) {
      const end = this.#rest.indexOf("\n");
      if (end >= 0) {
        const line = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 1);
        return Number(line);
      }
      const { value, done } = await this.#reader.read();
      if (done) {
        throw new Obstacle(
          `the C twin ${this.#name} ended before it answered`,
          "see its message above; most likely this KVM can't do what it asks for",
        );
      }
      this.#rest += value;
    }
  };

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer.close().catch(() => {});
    await this.#reader.cancel();
    await this.#child.status;
  }
}

/** Builds a program in C, and gives its path. @throws {Obstacle} */
export async function build(name: string, libraries: readonly string[] = []): Promise<string> {
  await Deno.mkdir(BUILT, { recursive: true });
  const program = fileURLToPath(new URL(name, BUILT));
  const source = fileURLToPath(new URL(`${name}.c`, SOURCES));
  const args = ["-O2", "-o", program, source, ...libraries];
  const { code, stderr } = await new Deno.Command("cc", { args }).output();
  if (code !== 0) {
    throw new Obstacle(
      `cc could not build ${source}:\n${new TextDecoder().decode(stderr)}`,
      `install the headers: apt-get install linux-libc-dev libc6-dev${
        libraries.length > 0 ? " libxen-dev" : ""
      }`,
    );
  }
  return program;
}

/** @throws {Obstacle} If there is no C compiler. */
export async function needCompiler(): Promise<void> {
  try {
    await new Deno.Command("cc", { args: ["--version"], stdout: "null", stderr: "null" }).output();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Obstacle("there is no C compiler (cc)", "install one: apt-get install gcc libc6-dev");
  }
}

/** Bytes as hexadecimal digits, as twins take them. */
export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
