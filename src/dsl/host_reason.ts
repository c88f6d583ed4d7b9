/** What the host said of a file, as a clause: "no space left on device". @param cause What Deno threw. */
export function hostReason(cause: unknown): string {
  const said = cause instanceof Error ? cause.message : String(cause);
  // Deno adds the errno, and what it was doing to which file.
  const text = said.replace(/ \(os error \d+\)/, "").replace(/: \w+ '[^']*'$/, "");
  return text.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase());
}
