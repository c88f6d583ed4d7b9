import { VirtioBalloon, type VirtioBalloonOptions } from "../devices/virtio/balloon.ts";
import { VirtioBlock } from "../devices/virtio/block.ts";
import { VirtioConsole, type VirtioConsoleOptions, type VirtioPort } from "../devices/virtio/console.ts";
import { VirtioEntropy } from "../devices/virtio/entropy.ts";
import type { VirtioOptions } from "../devices/virtio/virtio_device.ts";
import { VirtioSocket, type VirtioSocketOptions } from "../devices/virtio/socket.ts";
import { VirtioNet, type VirtioNetOptions } from "../devices/virtio/net.ts";
import { VirtioMmio, type VirtioMmioOptions } from "../devices/virtio/virtio_mmio.ts";
import { VirtioPci, type VirtioPciOptions } from "../devices/virtio/virtio_pci.ts";
import type { VirtioType } from "../devices/virtio/virtio_type.ts";
import { InputError } from "../vm/errors.ts";
import type { BlockBacking, BlockFault } from "../vm/block.ts";
import type { SocketBacking, SocketStream } from "../vm/socket.ts";
import type { FrameOffloads, NetBacking, UnfinishedFrames } from "../vm/net.ts";
import type { Device } from "../vm/device.ts";
import { bounded, isPlain } from "./bounded.ts";
import { type DiskOptions, expectWaiting, openDisk } from "./disks.ts";
import { openUnixSockets, type UnixSocketsOptions } from "./sockets.ts";
import { openTap, openUserNet, type PortForward, recorded, type UserNetOptions } from "./networks.ts";

export { VirtioNet };
export { VirtioBalloon, VirtioConsole, VirtioSocket };
export type { SocketBacking, SocketStream, UnixSocketsOptions, VirtioSocketOptions };
export type { FrameOffloads, NetBacking, PortForward, UnfinishedFrames, UserNetOptions, VirtioNetOptions };
export type {
  VirtioBalloonOptions,
  VirtioConsoleOptions,
  VirtioMmioOptions,
  VirtioOptions,
  VirtioPciOptions,
  VirtioPort,
};

/** How a virtio device is reached by its driver, and where. */
export interface VirtioPlaceOptions extends VirtioMmioOptions, VirtioPciOptions {
  /**
   * "mmio", a page of registers, if left out: kernels without firmware find it by the ACPI tables. "pci", a function on
   * the PCI bus, which firmware finds too, with an interrupt for each queue; for a machine with the default devices.
   */
  readonly transport?: "mmio" | "pci";
}

/** A device type with the transport that was chosen. @throws {InputError} If the options don't fit. */
function onTransport(type: VirtioType, options: VirtioPlaceOptions): Device {
  const { transport = "mmio", place, slot } = options;
  if (transport !== "mmio" && transport !== "pci") {
    throw new InputError(`${type.name}: there is no transport "${String(transport)}"`, {
      remedy: 'take "mmio" or "pci"',
    });
  }
  const other = transport === "pci" ? place && "place" : slot !== undefined && "slot";
  if (other) {
    throw new InputError(`${type.name}: a ${other} is for the other transport than ${transport}`, {
      remedy: 'give a place for "mmio", a slot for "pci", or neither',
    });
  }
  return transport === "pci" ? new VirtioPci(type, options) : new VirtioMmio(type, options);
}

/** The same for a type of hvsh's own, which calls nothing of the user's but what stands in its options. */
function onTransportOwn(type: VirtioType, options: VirtioPlaceOptions): Device {
  const device = onTransport(type, options);
  return isPlain(options) ? bounded(device) : device;
}

/**
 * A virtio device that does what `type` says: for `devices` of `open()`, or `vm.devices.add()`.
 *
 * @throws {InputError} If the type's description makes no sense.
 * @example
 * ```ts
 * import { type Chain, open, virtio } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const request = (chain: Chain) => void chain.write(0, new Uint8Array(8));
 * const type = { name: "zeros", id: 42, queues: [16], request };
 * const zeros = virtio(type, { place: { at: 0xd000_0000n, irq: 5 } });
 * await using vm = await open({ backend: "fake", devices: [zeros] });
 * assert.equal(vm.devices.get("zeros")?.ranges[0].start, 0xd000_0000n);
 * ```
 */
export function virtio(type: VirtioType, options: VirtioPlaceOptions = {}): Device {
  return onTransport(type, options);
}

/** What a disk is and how it looks to its guest. */
export interface VirtioDiskOptions extends DiskOptions, VirtioPlaceOptions {
  /** What GET_ID tells, at most 20 bytes; the name if left out. */
  readonly serial?: string;
  /** How many queues; 1 if left out. */
  readonly queues?: number;
  /** Told of each request that fails for the host's sake. */
  readonly onFault?: (fault: BlockFault) => void;
}

/**
 * A virtio disk on an image file, a block device, bytes, or a store of the user's own. Files are opened when it
 * becomes part of a machine, and closed with it.
 *
 * @throws {InputError} If an option makes no sense; when it is added, if the file can't be opened.
 */
export function virtioDisk(
  source: string | Uint8Array | BlockBacking,
  options: VirtioDiskOptions = {},
): Device {
  const named = typeof source === "string" || source instanceof Uint8Array;
  if (named) expectWaiting(source, options);
  const backing = named ? () => openDisk(source, options) : source;
  const { name, serial, queues, onFault } = options;
  return (named ? onTransportOwn : onTransport)(
    new VirtioBlock({
      backing,
      ...(name !== undefined && { name }),
      ...(serial !== undefined && { serial }),
      ...(queues !== undefined && { queues }),
      ...(onFault !== undefined && { onFault }),
    }),
    options,
  );
}

/** A virtio source of random numbers. */
export function virtioRng(options: VirtioPlaceOptions & { name?: string } = {}): Device {
  const { name } = options;
  return onTransportOwn(new VirtioEntropy({ ...(name !== undefined && { name }) }), options);
}

/**
 * A virtio console: what the guest prints there is in `vm.console`, and what `vm.console.send` types goes there
 * once the guest has opened it (Linux: `console=hvc0`). More ports go where their `end` says. To resize it, keep
 * the type: `const console = new VirtioConsole(); open({ devices: [virtio(console)] })`.
 *
 * @throws {InputError} If an option makes no sense.
 */
export function virtioConsole(options: VirtioPlaceOptions & VirtioConsoleOptions = {}): Device {
  return onTransportOwn(new VirtioConsole(options), options);
}

/**
 * A virtio memory balloon, which is `vm.balloon`: its `target` is how much the guest shall lend the host, and
 * `statistics()` asks the guest how it fares. Free pages that the guest reports go to the host without being asked
 * for.
 */
export function virtioBalloon(options: VirtioPlaceOptions & VirtioBalloonOptions = {}): Device {
  return onTransportOwn(new VirtioBalloon(options), options);
}

/** Which network a card is on, and how it looks to its guest. */
export interface VirtioCardOptions extends VirtioPlaceOptions, Omit<VirtioNetOptions, "backing"> {
  /** A file that all frames are recorded in, for tcpdump, tshark and Wireshark. */
  readonly pcap?: string;
}

/**
 * A virtio network card. What it is on is opened when it becomes part of a machine, and closed with it.
 *
 * @param network "user", or the options of such: a network inside this process (Debian's libslirp0), which needs no
 * rights, and where nothing listens but the `forwards` that are given. `{ tap: NAME }`: an interface of this host.
 * Or a network of the user's own.
 * @throws {InputError} If an option makes no sense.
 * @throws {HostError} When it is added: if libslirp is missing, the interface may not be taken, a port is taken.
 * @example
 * ```ts
 * import { virtioNet } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const card = virtioNet({ forwards: [{ hostPort: 2222, guestPort: 22 }] }, { pcap: "/tmp/net0.pcap" });
 * assert.equal(card.name, "net0"); // for `devices` of open()
 * ```
 */
export function virtioNet(
  network: "user" | UserNetOptions | { readonly tap: string } | NetBacking = "user",
  options: VirtioCardOptions = {},
): Device {
  const { pcap } = options;
  const open = () => {
    if (network === "user") return openUserNet();
    if ("tap" in network) return openTap(network.tap);
    return "receive" in network ? network : openUserNet(network);
  };
  const backing = pcap === undefined ? open : () => recorded(open(), pcap);
  const own = typeof network === "string" || !("receive" in network);
  return (own ? onTransportOwn : onTransport)(new VirtioNet({ ...options, backing }), options);
}

/**
 * A virtio socket device: streams between the guest and Unix domain sockets of this host, without a network (Linux:
 * AF_VSOCK). What the guest connects to at address 2 leads to the sockets that are given, and to nothing else; sockets
 * that are to lead to the guest are made here, for this user alone.
 *
 * @param sockets Ports and paths, or what else connections lead to.
 * @throws {InputError} If an option makes no sense.
 * @throws {HostError} When it is added: if a socket can't be made.
 * @example
 * ```ts
 * import { virtioSocket } from "hvsh";
 * import assert from "node:assert/strict";
 *
 * const sockets = virtioSocket({ connect: { 1024: "/run/user/1000/log.sock" } }, { cid: 7 });
 * assert.equal(sockets.name, "vsock0"); // for `devices` of open()
 * ```
 */
export function virtioSocket(
  sockets: UnixSocketsOptions | SocketBacking,
  options: VirtioPlaceOptions & Omit<VirtioSocketOptions, "backing"> = {},
): Device {
  const own = !("accept" in sockets);
  const backing = own ? () => openUnixSockets(sockets) : sockets;
  return (own ? onTransportOwn : onTransport)(new VirtioSocket({ ...options, backing }), options);
}
