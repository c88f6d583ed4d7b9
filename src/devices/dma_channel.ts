/** A device's end of a DMA channel. */

/** How far a transfer came. */
export interface DmaMoved {
  /** Bytes, at most as many as were offered. */
  readonly moved: number;
  /** Whether the count ran out with the last of them: TC. */
  readonly terminal: boolean;
}

/** What a device on a channel of the 8237 sees of it. */
export interface DmaChannel {
  /** Whether a request would be served: the channel is not masked, its controller is on. */
  readonly ready: boolean;
  /** Called when the guest makes the channel ready. */
  onReady: () => void;
  /** Moves bytes to memory; nothing moves while the channel is not ready. */
  put(bytes: Uint8Array): DmaMoved;
  /** Fills `into` from memory. */
  get(into: Uint8Array): DmaMoved;
}
