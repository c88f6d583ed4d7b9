/** What keyboard and mouse have in common: the two queues towards the 8042, and how they answer. */

/** Replies to commands. */
export const ACK = 0xfa;
export const RESEND = 0xfe;
export const SELF_TEST_PASSED = 0xaa;

/** Bytes of scan codes or packets a device holds back for the guest. */
export const EVENTS_LIMIT = 1024;
/** A device answers a command with at most this many bytes. */
export const REPLIES_LIMIT = 8;

/** The queues of a PS/2 device. */
export interface Ps2Queues {
  /** Answers to commands; they go first and at once. */
  replies: number[];
  /** Scan codes or packets; they take the time they take on the wire. */
  events: number[];
}

/** A device on the 8042's keyboard or auxiliary port. */
export interface Ps2Device {
  /** The host sends a byte. A reply not yet taken is dropped, as a device does when it is talked to again. */
  write(value: number): void;
  /** The next byte towards the host, undefined if there is none of that kind. */
  take(kind: "reply" | "event"): number | undefined;
  /** Whether there is something to take. */
  has(kind: "reply" | "event"): boolean;
  /** Called when an event comes; the 8042 sets it. */
  onEvent: () => void;
}
