/** A console as the device sees it that prints there: the other side is who watches the guest. */

/** Where typed bytes go; takes as many as it has room for, and tells how many that were. */
export type ConsoleInput = (bytes: Uint8Array) => number;

/** The other side of a console: that of the device which prints there, and reads what is typed. */
export interface ConsoleEnd {
  /** Takes what the guest printed. */
  print(bytes: Uint8Array): void;
  /**
   * Says where `send` puts its bytes, until what is returned is disposed of; the newest one given is taken.
   */
  connect(input: ConsoleInput): Disposable;
}
