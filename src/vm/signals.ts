/** Who deals with the signals that end a program. */

let own = false;

/**
 * Says that this program deals with SIGINT, SIGTERM and SIGHUP itself. Without that hvsh answers them where a guest
 * would outlive the program (a Xen domain): it puts everything back, and lets the signal end the program then.
 */
export function dealWithSignals(): void {
  own = true;
}

/** Whether the program has said so. */
export function signalsAreDealtWith(): boolean {
  return own;
}
