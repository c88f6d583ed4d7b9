/** Control messages of the console device (virtio 1.2, 5.3.6.2), both ways. */

/** Events. */
export const EVENT = {
  DEVICE_READY: 0,
  DEVICE_ADD: 1,
  DEVICE_REMOVE: 2,
  PORT_READY: 3,
  CONSOLE_PORT: 4,
  RESIZE: 5,
  PORT_OPEN: 6,
  PORT_NAME: 7,
} as const;

/** id (32 bits), event (16), value (16). */
export const MESSAGE_BYTES = 8;

/** A message of the driver's. */
export interface ConsoleMessage {
  /** The port. */
  readonly id: number;
  /** See `EVENT`. */
  readonly event: number;
  readonly value: number;
}

/** Takes a message apart; undefined if it is too short to be one. */
export function readMessage(bytes: Uint8Array): ConsoleMessage | undefined {
  if (bytes.length < MESSAGE_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return { id: view.getUint32(0, true), event: view.getUint16(4, true), value: view.getUint16(6, true) };
}

/** A message with what follows it. */
export function message(id: number, event: number, value: number, more: Uint8Array = NOTHING): Uint8Array {
  const bytes = new Uint8Array(MESSAGE_BYTES + more.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id, true);
  view.setUint16(4, event, true);
  view.setUint16(6, value, true);
  bytes.set(more, MESSAGE_BYTES);
  return bytes;
}

const NOTHING = new Uint8Array(0);

/** Messages that wait for the driver's buffers. The newest of a port and event replaces the one before it. */
export class MessageQueue {
  readonly #waiting = new Map<string, Uint8Array>();

  /** How many wait. */
  get length(): number {
    return this.#waiting.size;
  }

  /** Adds one at the end. */
  add(id: number, event: number, value: number, more?: Uint8Array): void {
    const key = `${id} ${event}`;
    this.#waiting.delete(key);
    this.#waiting.set(key, message(id, event, value, more));
  }

  /** Takes the oldest. */
  take(): Uint8Array | undefined {
    for (const [key, bytes] of this.#waiting) {
      this.#waiting.delete(key);
      return bytes;
    }
    return undefined;
  }

  /** Forgets all. */
  clear(): void {
    this.#waiting.clear();
  }

  /** All of them, for a saved state. */
  save(): number[][] {
    return [...this.#waiting.values()].map((bytes) => [...bytes]);
  }

  /** Takes checked messages. */
  restore(messages: readonly (readonly number[])[]): void {
    this.#waiting.clear();
    for (const each of messages) {
      const bytes = Uint8Array.from(each);
      const read = readMessage(bytes);
      if (read !== undefined) this.#waiting.set(`${read.id} ${read.event}`, bytes);
    }
  }
}
