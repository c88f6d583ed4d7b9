/** What the shell itself refuses: a sentence, and what to do about it. Guests' and hosts' errors have their own classes. */
export class ShellError extends Error {
  override name = "ShellError";
  /** One sentence: what the user can do. */
  readonly remedy?: string;

  constructor(message: string, remedy?: string) {
    super(message);
    if (remedy !== undefined) this.remedy = remedy;
  }
}

/** An error as the shell tells it. */
export interface ErrorReport {
  /** What happened, with the error's name in front unless it is one of ours, whose sentences stand alone. */
  readonly message: string;
  readonly remedy?: string;
  /** Lines of the user's own code, "at f (<anonymous>:1:22)"; empty for our own errors. */
  readonly frames: readonly string[];
}

/** Names of errors whose message is a whole sentence for the user, so that neither name nor stack helps. */
const OURS = new Set([
  "ShellError",
  "HvshError",
  "FaultError",
  "StateError",
  "UnsupportedError",
  "InputError",
  "ExpressionError",
  "TimeoutError",
  "HostError",
  "QmpError",
]);

/** A host's error bears its errno's name. */
function isOurs(error: Error): boolean {
  return OURS.has(error.name) || ("errno" in error && "call" in error);
}

/** Where hvsh's own code is. */
const OWN_CODE = new URL("../", import.meta.url).href;

/** Most frames shown; the innermost are the ones that help. */
const FRAME_LIMIT = 8;

/**
 * Takes an error apart for printing. Only frames of code typed at the prompt or loaded from files stay;
 * those of the shell's own machinery and of the runtime go.
 *
 * @param thrown Anything that was thrown.
 */
export function reportError(thrown: unknown): ErrorReport {
  if (!(thrown instanceof Error)) return { message: `Thrown: ${inspectSafely(thrown)}`, frames: [] };
  const remedy = (thrown as { remedy?: unknown }).remedy;
  const ours = isOurs(thrown);
  const message = ours || thrown.name === "" ? thrown.message : `${thrown.name}: ${thrown.message}`;
  return {
    message: message === "" ? thrown.name : message,
    ...(typeof remedy === "string" ? { remedy } : {}),
    frames: !ours
      ? userFrames(thrown.stack ?? "")
      : thrown.name === "HvshError"
      ? causeFrames(thrown.cause)
      : [],
  };
}

/** Where the user's code, a device's say, threw what stands behind an error of ours. */
function causeFrames(cause: unknown): string[] {
  return cause instanceof Error && !isOurs(cause) ? userFrames(cause.stack ?? "") : [];
}

/** The frames of `stack` that are the user's. Those of hvsh's own code stay only where it has gone wrong itself. */
function userFrames(stack: string): string[] {
  const frames = framesOf(stack);
  const theirs = frames.filter((frame) => !frame.includes(OWN_CODE));
  return (theirs.length > 0 ? theirs : frames).slice(0, FRAME_LIMIT);
}

function framesOf(stack: string): string[] {
  const shell = new URL(".", import.meta.url).href;
  const guard = new URL("../debug/guard.ts", import.meta.url).href;
  const frames: string[] = [];
  for (const line of stack.split("\n")) {
    const frame = line.trim();
    if (!frame.startsWith("at ")) continue;
    // Everything from the inspector outwards is how the shell came to evaluate the line.
    if (frame.startsWith("at Session.post ") || frame.includes(shell) || frame.includes(guard)) break;
    // What the parser says of a line is not the line's.
    if (/\b(ext|node):|\/acorn\//.test(frame)) continue;
    frames.push(frame);
  }
  return frames;
}

function inspectSafely(value: unknown): string {
  try {
    return Deno.inspect(value, { depth: 2 });
  } catch {
    return "a value that can't be shown";
  }
}
