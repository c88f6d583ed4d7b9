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
