/** display, undisplay and info display: expressions shown at each stop. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { reportError } from "../error.ts";
import type { Session } from "../session.ts";
import { type Display, stateOf } from "./state.ts";

/** Formats that show memory, as `x` does; others show the value, as `print` does. */
function isMemory(format: string): boolean {
  return /[is]/.test(format) || /\d/.test(format) || (/[bhwg]/.test(format) && format.length > 0);
}

/** `display[/FORMAT] EXPRESSION`; alone, shows all. */
export async function display(session: Session, { rest, format }: Invocation): Promise<Answer> {
  if (rest === "") return await showDisplays(session, false);
  const state = stateOf(session);
  const made: Display = { id: state.nextDisplay++, format, expression: rest, enabled: true };
  state.displays.push(made);
  if (session.vm === undefined) return { text: "", data: { id: made.id } };
  try {
    return await one(session, made);
  } catch (error) {
    // An expression that makes no sense now will not at the next stop either.
    state.displays.pop();
    throw error;
  }
}

/** Every display that is on. `quiet`: an error is shown in its place, as at a stop. */
export async function showDisplays(session: Session, quiet: boolean): Promise<Answer> {
  let text = "";
  const data: unknown[] = [];
  for (const d of stateOf(session).displays) {
    if (!d.enabled) continue;
    try {
      const answer = await one(session, d);
      text += answer.text;
      data.push(answer.data);
    } catch (error) {
      if (!quiet) throw error;
      const { message } = reportError(error);
      text += `${d.id}: ${d.expression}: ${message.split("\n", 1)[0]}\n`;
      data.push({ id: d.id, expression: d.expression, error: message });
    }
  }
  return { text, data };
}

async function one(session: Session, d: Display): Promise<Answer> {
  const slash = d.format === "" ? "" : `/${d.format} `;
  if (isMemory(d.format)) {
    const { examine } = await import("./examine.ts");
    const state = stateOf(session);
    const kept = { ...state.examine };
    const answer = await examine(session, { name: "x", rest: d.expression, format: d.format, words: [] });
    state.examine = kept;
    return {
      text: `${d.id}: x${slash}${d.expression}\n${answer.text}`,
      data: { id: d.id, expression: d.expression, value: answer.data },
    };
  }
  const { show } = await import("./print.ts");
  const { evaluate } = await import("./values.ts");
  const value = await evaluate(session, d.expression);
  const text = await show(session, value, d.format);
  return {
    text: `${d.id}: ${slash}${d.expression} = ${text}\n`,
    data: { id: d.id, expression: d.expression, value: value.value },
  };
}

/** `undisplay [N ...]`; without numbers, all. */
export function undisplay(session: Session, words: readonly string[]): Answer {
  const state = stateOf(session);
  const ids = words.map((word) => {
    const id = Number(word);
    if (state.displays.some((d) => d.id === id)) return id;
    throw new InputError(`There is no display ${word}`, { remedy: "info display lists them" });
  });
  const gone = ids.length === 0 ? [...state.displays] : state.displays.filter((d) => ids.includes(d.id));
  for (const d of gone) state.displays.splice(state.displays.indexOf(d), 1);
  return { text: "", data: { deleted: gone.map((d) => d.id) } };
}

/** `info display`. */
export function infoDisplay(session: Session): Answer {
  const { displays } = stateOf(session);
  if (displays.length === 0) return { text: "There are no auto-display expressions now.\n", data: [] };
  const lines = displays.map((d) =>
    `${String(d.id).padEnd(5)}${d.enabled ? "y" : "n"}  ${
      d.format === "" ? "" : `/${d.format} `
    }${d.expression}\n`
  );
  return {
    text: `Auto-display expressions now in effect:\nNum Enb Expression\n${lines.join("")}`,
    data: displays.map((d) => ({ ...d })),
  };
}
