/** Networks of a guest's card, in QEMU's words: `user,hostfwd=tcp::2222-:22`, `tap,ifname=tap0`. */
import type { PortForward, UserNetOptions } from "../dsl/mod.ts";
import { commaList } from "./comma_list.ts";
import { ShellError } from "./error.ts";

/** A card: what it is on, and what else was said of it. */
export interface Card {
  /** An interface of the host's, or a network of the process that runs the guest. */
  readonly network: { readonly tap: string } | UserNetOptions;
  readonly mac?: string;
  /** A file that its frames are recorded in. */
  readonly pcap?: string;
}

const WORDS =
  "It takes user or tap, hostfwd=tcp::HOSTPORT-:PORT, restrict=on, ifname=NAME, mac=ADDRESS, pcap=FILE.";

/**
 * Reads the words of a card. Nothing, or `restrict=on` without a kind, is a wire to nobody outside; `user` and `open`
 * reach what this host reaches, as in QEMU. A forwarded port listens on loopback unless an address is named.
 *
 * @throws {ShellError} If a word makes no sense.
 */
export function cardOf(text: string): Card {
  const [kind, ...settings] = text === "" ? ["restricted"] : commaList(text);
  const card: { mac?: string; pcap?: string } = {};
  const forwards: PortForward[] = [];
  let restricted = kind === "restricted";
  let tap: string | undefined;
  // Without a kind the settings begin at once: mac=52:54:00:00:00:01.
  const bare = kind.includes("=");
  if (bare) restricted = true;
  else if (!["restricted", "user", "open", "tap"].includes(kind)) {
    throw new ShellError(`A network card can't be on "${kind}"`, WORDS);
  }
  for (const setting of bare ? [kind, ...settings] : settings) {
    const [, key, value] = /^(\w+)=([^]+)$/.exec(setting) ?? [];
    if (key === "hostfwd" && kind !== "tap") forwards.push(forwardOf(value));
    else if (key === "restrict" && kind !== "tap" && /^(?:on|off|yes|no|y|n)$/.test(value)) {
      restricted = /^[oy](?!ff)/.test(value);
    } else if (key === "ifname" && kind === "tap") tap = value;
    else if (key === "mac") card.mac = value;
    else if (key === "pcap") card.pcap = value;
    // QEMU's script brings an interface up; hvsh takes one that is there, and runs nothing.
    else if (!((key === "script" || key === "downscript") && kind === "tap" && value === "no")) {
      throw new ShellError(`A network card does not understand \`${setting}\``, WORDS);
    }
  }
  if (kind !== "tap") return { network: { restricted, forwards }, ...card };
  if (tap === undefined) throw new ShellError("tap lacks its interface", "Write tap,ifname=tap0.");
  return { network: { tap }, ...card };
}

/** `tcp:[ADDRESS]:PORT-[ADDRESS]:PORT`, as QEMU has it. */
function forwardOf(text: string): PortForward {
  const [, protocol, host, hostPort, guest, guestPort] =
    /^(?:(tcp|udp)?:)?([\d.]*):(\d{1,5})-([\d.]*):(\d{1,5})$/.exec(text) ?? [];
  if (guestPort === undefined) {
    throw new ShellError(
      `hostfwd does not understand \`${text}\``,
      "Write hostfwd=tcp::2222-:22: port 2222 of this host leads to the guest's port 22.",
    );
  }
  return {
    protocol: protocol === "udp" ? "udp" : "tcp",
    ...(host !== "" && { host }),
    hostPort: Number(hostPort),
    ...(guest !== "" && { guest }),
    guestPort: Number(guestPort),
  };
}
