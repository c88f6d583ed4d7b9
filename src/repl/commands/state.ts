import type { GuestMachine } from "../../dsl/mod.ts";
import type { Value } from "../expression.ts";
import type { Snapshot } from "../render/registers.ts";
import type { Session } from "../session.ts";

/** An expression shown at each stop. */
export interface Display {
  readonly id: number;
  /** `x/` or `print/` format, without the slash; empty if none. */
  readonly format: string;
  readonly expression: string;
  enabled: boolean;
}

/** Where `x` goes on when it is given nothing. */
export interface ExamineState {
  letter: string;
  size: "b" | "h" | "w" | "g";
  next: bigint;
  space: "gpa" | "gva";
}

/** What the shell remembers of one guest. */
export interface GuestState {
  /** Registers at the last stop and at the one before, by vCPU. */
  readonly last: Map<number, Snapshot>;
  readonly before: Map<number, Snapshot>;
  /** What was asked for, by breakpoint id: `start+4`, `$rax == 1`. */
  readonly notes: Map<number, BreakpointNote>;
}

/** How a breakpoint was written. */
export interface BreakpointNote {
  what: string;
  condition?: string;
  /** The means that was asked for, if one was. */
  kind?: "hardware" | "software";
  /** What happens to it after so many more stops (`enable once`, `enable count`, `enable delete`). */
  after?: { stops: number; then: "disable" | "delete" };
  /** Commands to run when it stops the guest. */
  commands?: readonly string[];
  /** A catch's words: "port 0x402 write". */
  catch?: string;
  /** "read" for rwatch: x86 has no such trap, so the shell filters. */
  readOnly?: boolean;
  /** A watchpoint's bytes at its last hit, and at the one before where a condition looks at each. */
  value?: bigint;
  before?: bigint;
}

/** What commands remember between lines. */
export interface ShellState {
  /** `$1` is the first. */
  readonly history: Value[];
  readonly variables: Map<string, bigint>;
  readonly displays: Display[];
  nextDisplay: number;
  examine: ExamineState;
}

const STATES = new WeakMap<Session, ShellState>();
const GUESTS = new WeakMap<GuestMachine, GuestState>();

/** The session's memory, made at first use. */
export function stateOf(session: Session): ShellState {
  let state = STATES.get(session);
  if (state === undefined) {
    state = {
      history: [],
      variables: new Map(),
      displays: [],
      nextDisplay: 1,
      examine: { letter: "x", size: "w", next: 0n, space: "gva" },
    };
    STATES.set(session, state);
  }
  return state;
}

/** What is remembered of a guest; gone with it. */
export function guestState(vm: GuestMachine): GuestState {
  let state = GUESTS.get(vm);
  if (state === undefined) {
    state = { last: new Map(), before: new Map(), notes: new Map() };
    GUESTS.set(vm, state);
  }
  return state;
}
