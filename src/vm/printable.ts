/** What a terminal takes for a command instead of for text: C0 but tab and newline, DEL, C1. */
// deno-lint-ignore no-control-regex -- control characters are what this is about
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

/**
 * Text of a guest's making, safe for a terminal: its control characters are written as `\xNN`. Tabs and newlines
 * stay, carriage returns before a newline go.
 */
export function printable(text: string): string {
  return text.replace(/\r+\n/g, "\n").replace(CONTROL, escaped);
}

/** The same for a name, which is on one line. */
export function printableName(name: string): string {
  return printable(name).replace(/[\t\n]/g, escaped);
}

function escaped(character: string): string {
  return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
}
