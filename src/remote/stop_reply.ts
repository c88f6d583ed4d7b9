/** Stop replies (GDB manual, E.3). */

/** What a stub says when the guest stops. */
export type StopReply =
  | {
    readonly kind: "signal";
    /** The signal, by gdb's numbers: 2 SIGINT, 5 SIGTRAP, ... */
    readonly signal: number;
    /** The thread that stopped; undefined if it does not say. */
    readonly thread?: string;
    /** The data address of a watchpoint that fired, and which accesses it watched. */
    readonly watch?: { readonly address: bigint; readonly access: "write" | "read" | "access" };
  }
  /** The target ended: an exit status, or a signal. */
  | { readonly kind: "ended"; readonly reason: string };

export const SIGINT = 2;
export const SIGQUIT = 3;
export const SIGTRAP = 5;
export const SIGABRT = 6;

const WATCHES = { watch: "write", rwatch: "read", awatch: "access" } as const;

/** Reads a packet; undefined if it is no stop reply. */
export function parseStopReply(text: string): StopReply | undefined {
  const head = /^([TSWX])([0-9a-fA-F]{2})/.exec(text);
  if (head === null) return undefined;
  const code = parseInt(head[2], 16);
  if (head[1] === "W") {
    return { kind: "ended", reason: `the program behind the stub ended with status ${code}` };
  }
  if (head[1] === "X") {
    return { kind: "ended", reason: `the program behind the stub was ended by signal ${code}` };
  }
  let thread: string | undefined;
  let watch: { address: bigint; access: "write" | "read" | "access" } | undefined;
  for (const pair of text.slice(3).split(";")) {
    const colon = pair.indexOf(":");
    const key = pair.slice(0, colon);
    const value = pair.slice(colon + 1);
    if (key === "thread") thread = value;
    else if (key in WATCHES && /^[0-9a-fA-F]{1,16}$/.test(value)) {
      watch = { address: BigInt(`0x${value}`), access: WATCHES[key as keyof typeof WATCHES] };
    }
  }
  return { kind: "signal", signal: code, ...(thread !== undefined && { thread }), ...(watch && { watch }) };
}
