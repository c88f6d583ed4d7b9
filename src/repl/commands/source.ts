/** What needs source lines and types, which hvsh does not read. */
import { UnsupportedError } from "../../dsl/nouns.ts";

/** @throws {UnsupportedError} Always; says who can. */
export function noSource(): never {
  throw new UnsupportedError(
    "source lines, types and local variables",
    "hvsh reads symbols, not debug information",
    {
      remedy:
        "disas, nearpc and info symbols are here; gdbserver serves the guest to gdb, which reads all of it",
    },
  );
}
