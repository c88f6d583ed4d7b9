/** What a network card rests on at the host: somewhere frames go to and come from. */

/** A network. Frames are Ethernet's, without preamble and checksum. */
export interface NetBacking extends Disposable {
  /** What messages call it. */
  readonly name: string;
  /** Takes a frame from the guest; one that it has no room for is lost, as on a wire. */
  send(frame: Uint8Array): void;
  /** The next frame for the guest, or undefined. Never waits. */
  receive(): Uint8Array | undefined;
  /** What the user should know of it, since the last call; undefined if nothing. */
  notice?(): string | undefined;
}
