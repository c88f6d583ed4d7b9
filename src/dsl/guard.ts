/** The end of user code that never returns, for the shell. */
export { guarded, isRunaway } from "../debug/guard.ts";
