/** Networks for a guest's card: one of libslirp's in this process, or an interface of the host's; and recordings. */
import { LINUX } from "../abi/linux.ts";
import { HostError } from "../host/error.ts";
import { Slirp, type SlirpAddresses } from "../host/slirp.ts";
import { Tap, TAP_HEADER_BYTES } from "../host/tap.ts";
import { InputError } from "../vm/errors.ts";
import type { NetBacking, PortForward } from "../vm/net.ts";

export type { PortForward };

/** How a network in this process is. */
export interface UserNetOptions {
  /** Ports of this host that lead to the guest; nothing listens without. */
  readonly forwards?: readonly PortForward[];
  /** Whether the guest reaches nothing outside: neither this host nor what this host reaches. */
  readonly restricted?: boolean;
}

/** The addresses that QEMU's user network has too. */
const ADDRESSES: SlirpAddresses = {
  network: "10.0.2.0",
  mask: "255.255.255.0",
  host: "10.0.2.2",
  dhcpStart: "10.0.2.15",
  nameServer: "10.0.2.3",
};

/**
 * A network inside this process, without rights of any kind: what the guest connects to, this process connects to.
 * It has IPv4 alone: 10.0.2.0/24, DHCP, a name server at 10.0.2.3, this host at 10.0.2.2.
 *
 * @throws {InputError} If a port makes no sense.
 * @throws {HostError} If libslirp is not installed, or a port can't be listened on.
 */
export function openUserNet(options: UserNetOptions = {}): NetBacking {
  const { forwards = [], restricted = false } = options;
  for (const { hostPort, guestPort } of forwards) {
    for (const port of [hostPort, guestPort]) {
      if (!Number.isInteger(port) || port < 1 || port > 65535) {
        throw new InputError(`there is no port ${port} to forward`, { remedy: "give ports of 1 to 65535" });
      }
    }
  }
  using cleanup = new DisposableStack();
  const slirp = cleanup.use(new Slirp(ADDRESSES, { restricted, hostName: "hvsh" }));
  for (const { protocol, host = "127.0.0.1", hostPort, guest = ADDRESSES.dhcpStart, guestPort } of forwards) {
    slirp.forward({ udp: protocol === "udp", host, hostPort, guest, guestPort });
  }
  cleanup.move();
  return {
    name: `user (${ADDRESSES.network}/24)`,
    send: (frame) => slirp.input(frame),
    receive: () => slirp.receive(),
    [Symbol.dispose]: () => slirp[Symbol.dispose](),
  };
}

/**
 * A TAP interface of this host.
 *
 * @throws {HostError} If it may not be taken.
 */
export function openTap(name: string): NetBacking {
  const tap = new Tap(name);
  let told = false;
  return {
    name: `tap ${name}`,
    fd: tap.fd,
    send: (frame) => {
      const packet = new Uint8Array(TAP_HEADER_BYTES + frame.length);
      packet.set(frame, TAP_HEADER_BYTES);
      tap.send(packet);
    },
    receive: () => tap.receive()?.slice(TAP_HEADER_BYTES),
    unfinished: {
      accept: ({ checksum, tcp4, tcp6 }) =>
        tap.accept(
          (checksum ? LINUX.TUN_F_CSUM : 0) | (tcp4 ? LINUX.TUN_F_TSO4 : 0) | (tcp6 ? LINUX.TUN_F_TSO6 : 0),
        ),
      send: (packet) => tap.send(packet),
      sendv: (pieces) => tap.sendv(pieces),
      receive: () => tap.receive(),
    },
    notice: () => {
      if (tap.failed === 0 || told) return undefined;
      told = true;
      const { message } = new HostError(`read ${name}`, tap.failed);
      return `the interface ${name} is gone, and the guest's card with it (${message}): take the card out and add one`;
    },
    [Symbol.dispose]: () => tap[Symbol.dispose](),
  };
}
