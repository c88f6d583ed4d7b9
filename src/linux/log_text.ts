import type { LogRecord } from "./log.ts";

/**
 * Records as Debian's dmesg(1) prints them (util-linux, print_record): `[    0.123456] text`, further lines of a record
 * below its first, without the time; a record without text as an empty line. busybox's puts the time before each line.
 */
export function formatLog(records: readonly LogRecord[]): string {
  return records.map(({ nanoseconds, text }) => {
    if (text === "") return "\n";
    const micro = nanoseconds / 1000n;
    const stamp = `[${String(micro / 1_000_000n).padStart(5)}.${
      String(micro % 1_000_000n).padStart(6, "0")
    }] `;
    return `${stamp}${text.replaceAll("\n", `\n${" ".repeat(stamp.length)}`)}\n`;
  }).join("");
}
