/** screen and screenshot: what the guest's VGA shows. */
import { InputError } from "../../dsl/nouns.ts";
import { writePng } from "../../dsl/screen.ts";
import type { Answer, Invocation } from "../command.ts";
import type { Session } from "../session.ts";
import { awaitMatch, readPattern } from "./console.ts";
import { guest } from "./selected.ts";

/** `screen`: its text; `screen expect PATTERN [SECONDS]`: lets the guest run until it matches. */
export async function screen(session: Session, { rest, words }: Invocation): Promise<Answer> {
  const vm = guest(session);
  if (words[0] === "expect") {
    const wanted = readPattern({ rest: rest.replace(/^\S+\s*/, ""), words: words.slice(1) });
    return await awaitMatch(
      session,
      "screen",
      wanted.timeoutMs,
      (options) => vm.screen.expect(wanted.pattern, options),
    );
  }
  if (words.length > 0) {
    throw new InputError(`screen takes no "${words[0]}"`, { remedy: "screen, or screen expect /PATTERN/" });
  }
  const { text } = vm.screen;
  if (text === "") {
    const { width, height } = await vm.screen.picture();
    return {
      text: `The screen has no text: it shows ${width} by ${height} dots. screenshot FILE.png keeps them.\n`,
      data: { text, width, height },
    };
  }
  return { text: `${text.trimEnd()}\n`.replace(/^\n$/, "The screen is empty.\n"), data: { text } };
}

/** `screenshot FILE.png`. */
export async function screenshot(session: Session, { words }: Invocation): Promise<Answer> {
  if (words.length !== 1) {
    throw new InputError("screenshot takes one file name", { remedy: "screenshot screen.png" });
  }
  const [file] = words;
  const { width, height } = await writePng(guest(session).screen, file);
  return { text: `${width} by ${height} dots saved in ${file}.\n`, data: { file, width, height } };
}
