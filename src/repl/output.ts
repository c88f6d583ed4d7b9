import { hostReason } from "../dsl/host_reason.ts";

/** Where the shell prints. */
export interface Output {
  /** Whether a person looks at it. */
  readonly terminal: boolean;
  /** Columns; 80 where nobody knows. */
  readonly width: number;
  /** Whether the last thing printed ended its line. */
  readonly atLineStart: boolean;
  /** Prints text as it is, partial lines too. */
  write(text: string): void;
}

/**
 * Standard output, written at once. A reader that went away (`| head`) makes it silent, not fatal; a file that takes
 * no more is told, once, and `failed`.
 */
export class StandardOutput implements Output {
  readonly terminal = Deno.stdout.isTerminal();
  atLineStart = true;
  /** Whether the reader is gone, so that nothing more needs to be done for its sake. */
  broken = false;
  /** Whether something was lost that somebody may still want: the disk is full, say. */
  failed = false;
  #encoder = new TextEncoder();

  get width(): number {
    if (!this.terminal) return 80;
    try {
      return Math.max(20, Deno.consoleSize().columns);
    } catch {
      return 80;
    }
  }

  write(text: string): void {
    if (text === "" || this.broken) return;
    this.atLineStart = text.endsWith("\n");
    const error = writeAll(Deno.stdout, this.#encoder.encode(text));
    if (error === undefined) return;
    this.broken = true;
    if (readerIsGone(error)) return;
    this.failed = true;
    writeError(
      `hvsh: standard output can't be written: ${hostReason(error)}\nnothing more is printed there\n`,
    );
  }
}

/**
 * Prints an error line to standard error.
 *
 * @param text Whole lines.
 */
export function writeError(text: string): void {
  writeAll(Deno.stderr, new TextEncoder().encode(text));
}

/** A pipe's reader went away (EPIPE), or the terminal did (EIO). */
function readerIsGone(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || (error as { code?: unknown } | null)?.code === "EIO";
}

/** Writes everything. @returns What it failed with. */
function writeAll(stream: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): unknown {
  let rest = bytes;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(stream.writeSync(rest));
    } catch (error) {
      // A pipe that another process made non-blocking is full: try again, its reader is slow.
      if (error instanceof Deno.errors.WouldBlock) continue;
      return error;
    }
  }
  return undefined;
}
