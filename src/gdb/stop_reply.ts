/** How a stop is told to gdb (GDB manual, E.3 "Stop Reply Packets"): whole packets. */
import { framePacket } from "../abi/rsp.ts";
import type { Registers } from "../vm/registers.ts";
import type { Stop } from "../vm/stop.ts";
import type { StopReason } from "./breakpoints.ts";
import type { ClientFeatures } from "./queries.ts";
import { expeditedFrame } from "./registers.ts";
import { ascii } from "./text.ts";
import { threadId } from "./threads.ts";

/** GDB's own numbers of signals (include/gdb/signals.def). */
const SIGNAL = { INT: 2, ILL: 4, TRAP: 5, ABRT: 6, KILL: 9, SEGV: 11, TERM: 15 } as const;

/** What the client said that it understands. */
type Understood = Pick<ClientFeatures, "multiprocess" | "breakpointReasons">;

/**
 * The reply to a resume that ended with `stop`.
 *
 * @param reason What gdb calls the breakpoint or watchpoint that stopped, if it set it.
 */
export function stopReply(stop: Stop, client: Understood, reason?: StopReason): Uint8Array {
  const ended = (how: string) => framePacket(ascii(`${how}${client.multiprocess ? ";process:1" : ""}`));
  if (stop.kind === "exit") return ended(`W${hex(stop.code & 0xff)}`);
  if (stop.kind === "shutdown" && stop.reason === "poweroff") return ended("W00");
  if (stop.kind === "gone") return ended(`X${hex(SIGNAL.KILL)}`);
  const text = reason === undefined ? "" : reasonText(stop, reason, client);
  return standing(stop.vcpu.index, signalOf(stop), stop.registers, client, text);
}

/** The reply to `?` of a guest that has not stopped yet, or has been changed since. */
export function standing(
  vcpu: number,
  signal: number,
  registers: Registers,
  { multiprocess }: Pick<Understood, "multiprocess">,
  reason = "",
): Uint8Array {
  return expeditedFrame(`T${hex(signal)}thread:${threadId(vcpu, multiprocess)};${reason}`, registers);
}

/** The signal of a guest that simply stands. */
export const STANDS: number = SIGNAL.TRAP;

/** A line about a stop for which gdb has no word. */
export function remark(stop: Stop): string | undefined {
  switch (stop.kind) {
    case "halt":
      return "hvsh: HLT with interrupts off: nothing can wake this vCPU.\n";
    case "shutdown":
      return `hvsh: the guest ended by ${stop.reason}${
        stop.detail === undefined ? "" : ` (${stop.detail})`
      }.\n`;
    case "exit":
      return `hvsh: the guest wrote to the debug-exit device: code ${stop.code}.\n`;
    case "access":
      return `hvsh: ${stop.write ? "write to" : "read from"} ${stop.space} 0x${stop.address.toString(16)}.\n`;
    case "fault":
    case "gone":
      return `hvsh: ${stop.reason}.\n`;
    default:
      return undefined;
  }
}

function signalOf(stop: Stop): number {
  switch (stop.kind) {
    case "pause":
    case "timeout":
      return SIGNAL.INT;
    case "shutdown":
      return stop.reason === "triple-fault"
        ? SIGNAL.SEGV
        : stop.reason === "crash"
        ? SIGNAL.ABRT
        : SIGNAL.TERM;
    case "fault":
      return SIGNAL.ILL;
    default:
      return SIGNAL.TRAP;
  }
}

function reasonText(stop: Stop, reason: StopReason, { breakpointReasons }: Understood): string {
  if (reason === "replaylog:begin") return "replaylog:begin;";
  if (reason === "swbreak" || reason === "hwbreak") return breakpointReasons ? `${reason}:;` : "";
  return stop.kind === "watchpoint" ? `${reason}:${stop.address.toString(16)};` : "";
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}
