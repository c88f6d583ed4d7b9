/** Paths: completing them, and the directory they count from. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";

/** File names that begin with `prefix`; folders end in "/". Nothing if the folder can't be read. */
export async function completePath(prefix: string): Promise<string[]> {
  const slash = prefix.lastIndexOf("/") + 1;
  const folder = prefix.slice(0, slash);
  const begun = prefix.slice(slash);
  const home = Deno.env.get("HOME");
  const place = folder.startsWith("~/") && home !== undefined ? `${home}${folder.slice(1)}` : folder;
  const found: string[] = [];
  try {
    for await (const { name, isDirectory } of Deno.readDir(place === "" ? "." : place)) {
      // Hidden files are offered when asked for, as shells do.
      if (!name.startsWith(begun) || (name.startsWith(".") && !begun.startsWith("."))) continue;
      found.push(`${folder}${name}${isDirectory ? "/" : ""}`);
      if (found.length >= 1000) break;
    }
  } catch {
    return [];
  }
  return found.sort();
}

/** `pwd`, `cd DIRECTORY`. */
export function directory({ name, words }: Invocation): Answer {
  if (name === "cd") {
    const [to = "~"] = words;
    try {
      Deno.chdir(to.replace(/^~(?=\/|$)/, Deno.env.get("HOME") ?? "~"));
    } catch (cause) {
      throw new InputError(`${to} can't be gone to`, { cause, remedy: "name a directory" });
    }
  }
  const now = Deno.cwd();
  return { text: `${now}\n`, data: now };
}
