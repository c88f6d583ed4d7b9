import { InputError } from "../vm/errors.ts";
import { unreadable } from "./file_error.ts";

/** Characters of the longest line that is taken. */
const LINE_LIMIT = 1 << 20;

/**
 * The lines of a text file, one after the other, so that a file may be larger than memory.
 *
 * @throws {InputError} If the file can't be read, is no text, or has a line of more than 1 Mi characters.
 */
export async function* fileLines(path: string): AsyncGenerator<string, undefined> {
  let rest = "";
  try {
    using file = await Deno.open(path);
    const decoder = new TextDecoder("utf-8", { fatal: true });
    const chunk = new Uint8Array(1 << 16);
    for (;;) {
      const count = await file.read(chunk);
      rest += decoder.decode(chunk.subarray(0, count ?? 0), { stream: count !== null });
      const lines = rest.split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
      if (count === null) break;
      if (rest.length > LINE_LIMIT) {
        throw new InputError(`${path} has a line of more than ${LINE_LIMIT} characters`, {
          remedy: "check the path",
        });
      }
    }
  } catch (cause) {
    if (cause instanceof InputError) throw cause;
    throw unreadable(path, cause);
  }
  if (rest !== "") yield rest;
}
