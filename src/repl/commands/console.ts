/** send, expect and info console: the guest's console from the prompt. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { go } from "./running.ts";
import { guest } from "./selected.ts";

/** `send "TEXT"`: types it; `\n` and `\r` in double quotes are what they are in C. */
export async function send(session: Session, { words }: Invocation): Promise<Answer> {
  const text = words.join(" ");
  if (text === "") throw new InputError("send needs a text", { remedy: 'send "root\\n"' });
  await guest(session).console.send(text);
  return { text: "", data: { sent: text } };
}

/** `/PATTERN/FLAGS [SECONDS]` or `"TEXT" [SECONDS]`. @throws {InputError} */
export function readPattern(
  { rest, words }: Pick<Invocation, "rest" | "words">,
): { pattern: RegExp | string; timeoutMs: number } {
  const slashed = /^\/((?:[^\\/]|\\.)+)\/([imsu]*)\s*(\S*)$/.exec(rest);
  const [text, seconds] = slashed === null ? words : [slashed[1], slashed[3]];
  if (text === undefined || text === "") {
    throw new InputError("expect needs a pattern", {
      remedy: 'expect /login:/, expect "No bootable device" 60',
    });
  }
  const limit = seconds === undefined || seconds === "" ? 30 : Number(seconds);
  if (!(limit > 0 && limit <= 86_400)) {
    throw new InputError(`"${seconds}" is not a number of seconds`, { remedy: "expect /PATTERN/ 60" });
  }
  if (slashed === null) return { pattern: text, timeoutMs: limit * 1000 };
  try {
    return { pattern: new RegExp(slashed[1], slashed[2]), timeoutMs: limit * 1000 };
  } catch (cause) {
    throw new InputError(`/${slashed[1]}/ is not a regular expression`, { cause });
  }
}

/** `expect PATTERN [SECONDS]`: lets a paused guest run until its console matched, then pauses it again. */
export async function expect(session: Session, invocation: Invocation): Promise<Answer> {
  const { console } = guest(session);
  const { pattern, timeoutMs } = readPattern(invocation);
  return await awaitMatch(session, "console", timeoutMs, (options) => console.expect(pattern, options));
}

/** Lets a paused guest run until `look`, which waits for something of `what`, is done, then pauses it again. */
export async function awaitMatch(
  session: Session,
  what: string,
  timeoutMs: number,
  look: (options: { timeoutMs: number; signal: AbortSignal }) => Promise<RegExpMatchArray>,
): Promise<Answer> {
  const vm = guest(session);
  const giveUp = new AbortController();
  const options = { timeoutMs, signal: giveUp.signal };
  if (vm.state === "running") return answer(await look(options));
  let match: RegExpMatchArray | undefined;
  let failure: unknown;
  const matched = look(options).then((m) => match = m, (error) => failure = error);
  // What was printed before counts: then there is nothing to run for.
  await turn();
  if (match === undefined && failure === undefined) {
    await go(session, async (guest) => {
      const stopped = guest.continue();
      await Promise.race([matched, stopped]);
      return vm.state === "running" ? await guest.pause() : await stopped;
    });
    // Output of the last moments is looked at one turn later.
    await turn();
    giveUp.abort(
      new InputError(`The guest stopped before its ${what} matched`, { remedy: "continue, or expect again" }),
    );
    await matched;
  }
  if (match === undefined) throw failure;
  return answer(match);
}

/** Lets the event loop go round once. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

function answer(match: RegExpMatchArray): Answer {
  return {
    text: `Matched ${JSON.stringify(match[0])}.\n`,
    data: { match: match[0], groups: match.slice(1) },
  };
}

/** `info console [LINES]`: what the guest printed last. */
export function infoConsole(session: Session, rest: string): Answer {
  const { text } = guest(session).console;
  const lines = text.split("\n");
  const shown = lines.slice(-(Number(rest) || 20)).join("\n");
  // deno-lint-ignore no-control-regex -- a guest's control characters must not reach the terminal
  const safe = shown.replace(/[\x00-\x08\x0b-\x1f\x7f]/g, "");
  return { text: safe === "" || safe.endsWith("\n") ? safe : `${safe}\n`, data: { text: shown } };
}
