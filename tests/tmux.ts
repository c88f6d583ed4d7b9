/** A real terminal for tests: tmux, without a screen to look at. */

/** The reason why terminal tests can't run here; undefined if they can. */
export function noTmux(): string | undefined {
  try {
    return new Deno.Command("tmux", { args: ["-V"], stdout: "null", stderr: "null" }).outputSync().success
      ? undefined
      : "tmux does not run";
  } catch {
    return "tmux is not installed (Debian package tmux)";
  }
}

let count = 0;

/** A terminal with a POSIX shell in it. */
export class Terminal implements AsyncDisposable {
  #socket = `hvsh-test-${Deno.pid}-${count++}`;

  /** Opens it with `columns` and `rows`, in `directory`, with `environment` added. */
  static async open(
    { columns = 100, rows = 30, directory, environment = {} }: {
      columns?: number;
      rows?: number;
      directory: string;
      environment?: Record<string, string>;
    },
  ): Promise<Terminal> {
    const terminal = new Terminal();
    const variables = Object.entries(environment).flatMap(([k, v]) => ["-e", `${k}=${v}`]);
    await terminal.#tmux(
      "new-session",
      "-d",
      "-x",
      `${columns}`,
      "-y",
      `${rows}`,
      "-c",
      directory,
      ...variables,
      "sh",
    );
    await terminal.waitFor(/[$#] $/);
    return terminal;
  }

  async #tmux(...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command("tmux", {
      args: ["-L", this.#socket, "-f", "/dev/null", ...args],
      stdin: "null",
    }).output();
    if (!success) throw new Error(`tmux ${args[0]}: ${new TextDecoder().decode(stderr)}`);
    return new TextDecoder().decode(stdout);
  }

  /** Types text as it is. */
  async type(text: string): Promise<void> {
    await this.#tmux("send-keys", "-l", "--", text);
  }

  /** Presses keys by tmux's names: "Enter", "C-c", "Up". */
  async press(...keys: string[]): Promise<void> {
    await this.#tmux("send-keys", ...keys);
  }

  /** Types a line and presses Enter. */
  async enter(line: string): Promise<void> {
    if (line !== "") await this.type(line);
    await this.press("Enter");
  }

  /** Pastes text as a terminal does. */
  async paste(text: string): Promise<void> {
    await this.#tmux("set-buffer", "--", text);
    await this.#tmux("paste-buffer", "-p");
  }

  /** What stands on the screen and above it, without empty lines at the end. */
  async screen(): Promise<string> {
    return (await this.#tmux("capture-pane", "-p", "-S", "-", "-J")).replace(/\n+$/, "");
  }

  /** Whether anything on the screen is coloured. */
  async isColored(): Promise<boolean> {
    // deno-lint-ignore no-control-regex -- escape sequences are what is looked for
    return /\x1b\[[0-9;]*[1-9]/.test(await this.#tmux("capture-pane", "-p", "-e"));
  }

  /** The process that runs in the terminal. */
  async shellPid(): Promise<number> {
    return Number(await this.#tmux("display-message", "-p", "#{pane_pid}"));
  }

  /** Waits until the screen matches; blanks at line ends don't count. @returns The screen. */
  async waitFor(pattern: RegExp, timeoutMs = 20_000): Promise<string> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      // Screens have no blanks at line ends; a prompt has.
      const screen = await this.screen();
      if (pattern.test(screen) || pattern.test(`${screen} `)) return screen;
      if (performance.now() > end) throw new Error(`${pattern} did not come. The screen:\n${screen}`);
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  /** Closes the terminal, as when its window is closed: what runs in it gets SIGHUP. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tmux("kill-server").catch(() => {});
  }
}
