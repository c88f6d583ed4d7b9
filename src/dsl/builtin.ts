/** Node's modules for what can't wait for an import, for the shell. */
export { builtin } from "../vm/builtin.ts";
