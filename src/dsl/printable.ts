/** Guests' text made safe for terminals, for the doors that show it. */
export { printable } from "../vm/printable.ts";
