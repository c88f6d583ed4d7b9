/** The exit code of `deno task lab` when the lab itself failed, as env(1) and timeout(1) use it. */
export const LAB_FAILED = 125;

/** The exit code of a command that was ended because its time was over, as timeout(1) gives it. */
export const TIMED_OUT = 124;

/** What a {@linkcode LabError} may carry besides its message. */
export interface LabErrorDetails {
  /** What the user can do about it, one sentence. */
  remedy?: string;
  /** The last stage of the start that was reached. */
  stage?: string;
  /** The last lines of the lab's console, oldest first. */
  console?: string[];
  /** The error this one was made from. */
  cause?: unknown;
}

/** A lab could not be started, was lost, or was asked for something it can't do. */
export class LabError extends Error {
  override name = "LabError";
  readonly remedy?: string;
  readonly stage?: string;
  readonly console: string[];

  constructor(message: string, details: LabErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.remedy = details.remedy;
    this.stage = details.stage;
    this.console = details.console ?? [];
  }

  /** The whole story for a terminal: message, remedy, and the console's last lines, indented. */
  report(): string {
    const lines = [this.message];
    if (this.remedy) lines.push(`  ${this.remedy}`);
    if (this.console.length > 0) {
      lines.push(`  The last ${this.console.length} lines of its console:`);
      for (const line of this.console) lines.push(`  | ${line}`);
    }
    return lines.join("\n");
  }
}
