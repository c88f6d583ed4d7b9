/** The commands about guests, as rows. The shell's own are in shell.ts. Rows are cheap; what they do is loaded when called. */
import type { Command } from "../command.ts";
import { BREAKPOINTS } from "./table_breakpoints.ts";
import { DATA } from "./table_data.ts";
import { HABITS } from "./table_habits.ts";
import { LINUX } from "./table_linux.ts";
import { MACHINE } from "./table_machine.ts";
import { RUNNING } from "./table_running.ts";

/** Every row, in the order in which `help` lists them. */
export const COMMANDS: readonly Command[] = [
  ...RUNNING,
  ...BREAKPOINTS,
  ...DATA,
  ...MACHINE,
  ...HABITS,
  ...LINUX,
];
