import { StateError } from "../vm/errors.ts";

/** The stub, or the program behind it, does not answer any more: it ended, hung, or talks nonsense. */
export class GoneError extends StateError {
  constructor(why: string, options: { cause?: unknown; remedy?: string } = {}) {
    super(why, "gone", { remedy: "open or attach anew", ...options });
  }
}
