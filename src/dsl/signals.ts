/** Who deals with the signals that end a program. Alone in a file: a shell that starts loads no more of the library. */

export { dealWithSignals } from "../vm/signals.ts";
