import type { Style } from "./style.ts";

const same = (text: string): string => text;

/** No colours: for files, pipes and NO_COLOR. */
export const plainStyle: Style = {
  color: false,
  address: same,
  symbol: same,
  register: same,
  changed: same,
  mnemonic: same,
  dim: same,
  error: same,
  heading: same,
  current: same,
};

/** Colours from the terminal's own sixteen, so that its theme decides. */
export async function colorStyle(): Promise<Style> {
  const { styleText } = await import("node:util");
  type Format = Parameters<typeof styleText>[0];
  // The shell has decided that there is a terminal; node:util would ask again and may see another stream.
  const role = (format: Format) => (text: string) => styleText(format, text, { validateStream: false });
  return {
    color: true,
    address: role("cyan"),
    symbol: role("yellow"),
    register: role("green"),
    changed: role(["bold", "red"]),
    mnemonic: role("blue"),
    dim: role("gray"),
    error: role("red"),
    heading: role("bold"),
    current: role(["bold", "green"]),
  };
}

/**
 * Whether to colour: a terminal that can, and neither NO_COLOR (https://no-color.org) nor TERM=dumb set.
 *
 * @param terminal Whether output goes to a terminal.
 */
export function wantsColor(terminal: boolean): boolean {
  const no = Deno.env.get("NO_COLOR");
  return terminal && (no === undefined || no === "") && Deno.env.get("TERM") !== "dumb";
}
