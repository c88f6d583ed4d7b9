/** The options that say which network cards a guest has, in QEMU's words. */
import { commaList } from "./comma_list.ts";
import { ShellError } from "./error.ts";
import type { CommandLine } from "./options.ts";

const quoted = (part: string): string => part.replaceAll(",", ",,");

/** `-nic user,hostfwd=...,model=virtio,mac=...`, `-nic none`. */
export function nicValue(line: CommandLine, text: string): void {
  if (text === "none") return;
  const words: string[] = [];
  for (const part of commaList(text)) {
    const [, model] = /^model=([^]*)$/.exec(part) ?? [];
    if (model === undefined) {
      if (!part.startsWith("id=")) words.push(quoted(part));
    } else if (!/^virtio(?:-net(?:-pci)?)?$/.test(model)) throw notVirtio(`-nic model=${model}`);
  }
  (line.cards ??= []).push({ words: words.join(",") });
}

/** `-netdev user,id=n0,...`: what a card is on. */
export function netdevValue(line: CommandLine, text: string): void {
  const parts = commaList(text);
  const id = parts.find((part) => part.startsWith("id="))?.slice(3);
  if (id === undefined) throw new ShellError("-netdev lacks its id", "Write -netdev user,id=n0.");
  const words = parts.filter((part) => !part.startsWith("id=")).map(quoted);
  (line.networks ??= new Map()).set(id, words.join(","));
}

/** `-object filter-dump,id=f0,netdev=n0,file=FILE`: frames recorded; rng-random is where random numbers come from anyway. */
export function objectValue(line: CommandLine, text: string): void {
  const [kind, ...parts] = commaList(text);
  if (kind === "rng-random" || kind === "rng-builtin") return;
  const settings = new Map(parts.map((part): [string, string] => {
    const at = part.indexOf("=");
    return at < 0 ? [part, ""] : [part.slice(0, at), part.slice(at + 1)];
  }));
  const [id = "", file = ""] = [settings.get("netdev"), settings.get("file")];
  const words = line.networks?.get(id);
  if (kind !== "filter-dump" || file === "") {
    throw new ShellError(
      `-object ${text} can't be had here`,
      "It takes filter-dump,id=ID,netdev=ID,file=FILE.",
    );
  }
  if (words === undefined) throw noNetwork("-object filter-dump", id);
  line.networks?.set(id, `${words},pcap=${quoted(file)}`);
}

/** `-device virtio-net-pci,netdev=n0,mac=...`. */
export function cardOn(line: CommandLine, settings: ReadonlyMap<string, string>): void {
  const [network, mac] = [settings.get("netdev"), settings.get("mac")];
  (line.cards ??= []).push({ ...(network !== undefined && { network }), ...(mac !== undefined && { mac }) });
}

/** The cards of a command line as `device_add` takes them. @throws {ShellError} If a network is nowhere named. */
export function cardLines(line: CommandLine): string[] {
  return (line.cards ?? []).map(({ network, words, mac }) => {
    const on = network === undefined ? words ?? "restricted" : line.networks?.get(network);
    if (on === undefined) throw noNetwork("-device virtio-net-pci", network ?? "");
    return `virtio-net-pci ${on}${mac === undefined ? "" : `,mac=${mac}`}`;
  });
}

/** A card that is no virtio card. */
export function notVirtio(what: string): ShellError {
  return new ShellError(`${what} can't be had here`, "hvsh's network cards are virtio-net-pci.");
}

function noNetwork(who: string, id: string): ShellError {
  return new ShellError(`${who} has no netdev ${id}`, "Write -netdev user,id=n0, and netdev=n0 in it.");
}
