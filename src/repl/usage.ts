import { OPTIONS } from "./options.ts";

/** What `--help` prints: made of the same rows that the parser reads. */
export function helpText(): string {
  const rows = OPTIONS.filter((row) => row.help !== undefined).map((row) => ({
    left: `  ${row.names.join(", ")}${row.value === undefined ? "" : ` ${row.value}`}`,
    help: row.help ?? "",
  }));
  const lines = rows.map(({ left, help }) =>
    left.length < 24 ? `${left.padEnd(24)}${help}` : `${left}\n${" ".repeat(24)}${help}`
  );
  return `hvsh: an interactive shell for hypervisors and the guests they run

Usage: hvsh [OPTIONS] [FILE]
       hvsh [OPTIONS] attach gdb:HOST:PORT     a guest of others, behind a GDB stub: QEMU's, say
       hvsh [OPTIONS] attach xen:NAME|ID       a domain of Xen's, from dom0
       hvsh trace [OPTIONS] [FILE] -o TRACE    writes down every instruction and what it changed
       hvsh diff TRACE TRACE, or hvsh diff --backends kvm,qemu [OPTIONS] [FILE]    where do they first differ?
       hvsh selftest [--json]     what this host can do, and whether hvsh works on it: a report to paste

FILE is an ELF kernel, a bzImage, a boot sector or a ROM; what it is taken for is told.
With a guest's options the guest is opened at once, paused at its first instruction.
Without -c and -x lines are read from the terminal, or from standard input.

${lines.join("\n")}

Exit status: that of \`quit\`; 1 if a command of -c, -x or standard input failed; 2 for a bad command line;
128 + n if signal n ended it.
`;
}

/** What `--version` prints. */
export async function versionText(): Promise<string> {
  const url = new URL("../../package.json", import.meta.url);
  const { version } = JSON.parse(await Deno.readTextFile(url)) as { version?: string };
  return `hvsh ${version ?? "0"} (Deno ${Deno.version.deno}, V8 ${Deno.version.v8})\n`;
}
