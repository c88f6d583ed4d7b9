/** The end of user code that never returns, for the shell. */
export { allowWaiting, guarded, isRunaway } from "../debug/guard.ts";
