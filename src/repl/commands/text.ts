/** echo, printf and shell: what scripts of commands say beside values. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Value } from "../expression.ts";
import type { Session } from "../session.ts";
import { guest, readPlace, registersOf } from "./selected.ts";
import { evaluate, placeOf, splitExpressions } from "./values.ts";

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  a: "\x07",
  "\\": "\\",
  '"': '"',
};

/** Escapes of C; a backslash at the end keeps the newline away, as in gdb. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{1,3}|[^]|$)/g, (all, what: string) => {
    if (/^[0-7]/.test(what)) return String.fromCharCode(Number.parseInt(what, 8) & 0xff);
    return what === "" ? "" : ESCAPES[what] ?? all;
  });
}

/** `echo TEXT`: no newline of its own. */
export function echo(_session: Session, { rest }: Invocation): Answer {
  const text = unescape(rest);
  return { text, data: text };
}

/** `printf "FORMAT", EXPRESSION, ...` with C's conversions of integers, characters and strings. */
export async function printf(session: Session, { rest }: Invocation): Promise<Answer> {
  const quoted = /^"((?:[^"\\]|\\.)*)"\s*(?:,\s*)?/.exec(rest);
  if (quoted === null) {
    throw new InputError("printf needs a format in double quotes", {
      remedy: 'printf "rax is %lx\\n", $rax',
    });
  }
  const given = splitExpressions(rest.slice(quoted[0].length));
  const conversion = /%(-?)(0?)(#?)(\d{0,4})(?:hh|h|ll|l|z|j)?([diuxXocsp%])|%/g;
  let text = "";
  let at = 0;
  const format = unescape(quoted[1]);
  for (const match of format.matchAll(conversion)) {
    text += format.slice(at, match.index);
    at = match.index + match[0].length;
    const [all, left, zeros, alternate, width, letter] = match;
    if (letter === undefined) {
      throw new InputError(
        `printf does not know the conversion at "${format.slice(match.index, match.index + 4)}"`,
        {
          remedy: "it takes %d %i %u %x %X %o %c %s %p and %%",
        },
      );
    }
    if (letter === "%") {
      text += "%";
      continue;
    }
    const source = given.shift();
    if (source === undefined) throw new InputError(`There is no value for ${all}`);
    const shown = await converted(session, source, letter, alternate !== "");
    const pad = Number(width || 0);
    text += left ? shown.padEnd(pad) : shown.padStart(pad, zeros ? "0" : " ");
  }
  if (given.length > 0) throw new InputError(`The format has no conversion for ${given[0]}`);
  text += format.slice(at);
  return { text, data: text };
}

async function converted(
  session: Session,
  source: string,
  letter: string,
  alternate: boolean,
): Promise<string> {
  const text = letter === "s" ? /^"((?:[^"\\]|\\.)*)"$/.exec(source.trim()) : null;
  if (text !== null) return unescape(text[1]);
  const value = await evaluate(session, source);
  const unsigned = BigInt.asUintN(64, value.value);
  switch (letter) {
    case "d":
    case "i":
      return BigInt.asIntN(64, value.value).toString();
    case "u":
      return unsigned.toString();
    case "o":
      return `${alternate ? "0" : ""}${unsigned.toString(8)}`;
    case "c":
      return String.fromCharCode(Number(unsigned & 0xffn));
    case "p":
      return `0x${unsigned.toString(16)}`;
    case "s":
      return await stringAt(session, value);
    default: {
      const digits = `${alternate ? "0x" : ""}${unsigned.toString(16)}`;
      return letter === "X" ? digits.toUpperCase() : digits;
    }
  }
}

/** Most characters of a string in guest memory. */
const LONGEST = 4096;
const PAGE = 4096;

async function stringAt(session: Session, value: Value): Promise<string> {
  guest(session);
  const place = placeOf(value, await registersOf(session));
  const bytes: number[] = [];
  while (bytes.length < LONGEST) {
    // Page by page: the one behind the string's end may not be there.
    const at = place.at + BigInt(bytes.length);
    const piece = await readPlace(
      session,
      { ...place, at },
      Math.min(LONGEST - bytes.length, PAGE - Number(at % BigInt(PAGE))),
    );
    const zero = piece.indexOf(0);
    bytes.push(...(zero < 0 ? piece : piece.subarray(0, zero)));
    if (zero >= 0) break;
  }
  // What a guest has in memory may be anything: only what a terminal shows as it is comes through.
  return String.fromCharCode(...bytes).replace(
    /[^\x20-\x7e\n\t]/g,
    (c) => `\\${c.charCodeAt(0).toString(8).padStart(3, "0")}`,
  );
}

/** `shell COMMAND`: runs it with sh, on the terminal. */
export async function shell(session: Session, { rest }: Invocation): Promise<Answer> {
  if (rest === "") throw new InputError("shell needs a command", { remedy: "shell ls -l" });
  if (session.json) {
    const { code, stdout } = await new Deno.Command("sh", { args: ["-c", rest], stdin: "null" }).output();
    return { text: "", data: { code, stdout: new TextDecoder().decode(stdout) } };
  }
  const run = async () => {
    const child = new Deno.Command("sh", { args: ["-c", rest] }).spawn();
    // Whoever ends hvsh meanwhile ends it too.
    const hangUp = () => child.kill("SIGHUP");
    globalThis.addEventListener("unload", hangUp);
    try {
      return await child.status;
    } finally {
      globalThis.removeEventListener("unload", hangUp);
    }
  };
  // An editor or a pager wants the keys for itself.
  const { code } = await (session.keyboard?.lend(run) ?? run());
  return { text: code === 0 ? "" : `(exit code ${code})\n`, data: { code } };
}
