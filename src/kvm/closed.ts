import { StateError } from "../vm/errors.ts";

/** The error for whatever is asked of a machine that was closed. */
export function machineClosed(): StateError {
  return new StateError("The machine is closed.", "closed", { remedy: "Open a new one." });
}
