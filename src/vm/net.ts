/** What a network card rests on at the host: somewhere frames go to and come from. */

/** What a frame for the guest may lack: the guest's driver does the rest. */
export interface FrameOffloads {
  /** The checksum of TCP and UDP. */
  readonly checksum: boolean;
  /** TCP over IPv4, in frames that are larger than the MTU: the cutting into segments. */
  readonly tcp4: boolean;
  /** The same over IPv6. */
  readonly tcp6: boolean;
}

/**
 * Frames that are not cut into segments or lack a checksum, each behind 12 bytes that say what is left to do: struct
 * virtio_net_hdr (virtio 1.2, 5.1.6).
 */
export interface UnfinishedFrames {
  /** What frames for the guest may lack from now on; nothing at first. */
  accept(offloads: FrameOffloads): void;
  /** Takes a frame from the guest, behind its header, valid during the call; the network finishes it. */
  send(packet: Uint8Array): void;
  /** The same from several pieces, one behind the other, in the guest's memory; left out where it is no faster. */
  sendv?(pieces: readonly Uint8Array[]): void;
  /** The next frame for the guest behind its header, or undefined. Valid until the next call. Never waits. */
  receive(): Uint8Array | undefined;
}

/** A network. Frames are Ethernet's, without preamble and checksum. */
export interface NetBacking extends Disposable {
  /** What messages call it. */
  readonly name: string;
  /** Takes a frame from the guest; one that it has no room for is lost, as on a wire. */
  send(frame: Uint8Array): void;
  /** The next frame for the guest, or undefined. Never waits. */
  receive(): Uint8Array | undefined;
  /** Where it takes and gives unfinished frames; used instead of `send` and `receive`. */
  readonly unfinished?: UnfinishedFrames;
  /** The host's descriptor that can be read when there is a frame for the guest; networks without are asked. */
  readonly fd?: number;
  /** What the user should know of it, since the last call; undefined if nothing. */
  notice?(): string | undefined;
}

/** Connections to a port of this host that go to one of the guest's. */
export interface PortForward {
  /** TCP if left out. */
  readonly protocol?: "tcp" | "udp";
  /** An IPv4 address of this host; 127.0.0.1, which nobody else reaches, if left out. */
  readonly host?: string;
  /** The port of this host, 1 to 65535. */
  readonly hostPort: number;
  /** The guest's address; the first that DHCP gives, if left out. */
  readonly guest?: string;
  /** The guest's port, 1 to 65535. */
  readonly guestPort: number;
}
