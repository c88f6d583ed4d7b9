/** What is said of files that the user named and that can't be read or written. */
import { InputError } from "../vm/errors.ts";
import { hostReason } from "./host_reason.ts";

/** The error for a file that can't be read. @param cause What Deno said. */
export function unreadable(path: string, cause: unknown): InputError {
  return new InputError(`${path} can't be read: ${reason(cause, "there is no such file", "reading it")}`, {
    cause,
    remedy: "check the path",
  });
}

/** The error for a file that can't be written. @param cause What Deno said. */
export function unwritable(path: string, cause: unknown): InputError {
  return new InputError(
    `${path} can't be written: ${reason(cause, "there is no such folder", "writing it")}`,
    {
      cause,
      remedy: "choose another file",
    },
  );
}

function reason(cause: unknown, missing: string, act: string): string {
  if (cause instanceof Deno.errors.NotFound) return missing;
  if (cause instanceof Deno.errors.PermissionDenied) return `${act} is not permitted`;
  if (cause instanceof Deno.errors.IsADirectory) return "it is a folder";
  return hostReason(cause);
}
