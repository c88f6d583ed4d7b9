/** What the shell says when the guest stands still. */
import { syntaxSetting } from "../commands/settings.ts";
import type {
  Autopsy,
  Breakpoint,
  DeviceRequest,
  GuestMachine,
  Registers,
  Stop,
  TraceEntry,
} from "../../dsl/mod.ts";
import { REGISTER_GROUPS } from "../../dsl/nouns.ts";
import type { Answer } from "../command.ts";
import { howWords, noteOf } from "../commands/breakpoint_list.ts";
import { showDisplays } from "../commands/display.ts";
import { guestState } from "../commands/state.ts";
import { guest, linearPc, readPlace, registersOf, symbolAt, unsigned } from "../commands/selected.ts";
import { reportError } from "../error.ts";
import type { Session } from "../session.ts";
import { accessWords } from "./access.ts";
import { branchHint, instructionData, instructionLines } from "./disassembly.ts";
import { position, showsContext } from "./place.ts";
import { registerData, snapshot } from "./registers.ts";
import { hex } from "./text.ts";
import { requestText } from "./trace.ts";

/** Requests shown at a stop. */
const REQUESTS = 8;

/** Tells a stop: why, where, the context view or the next instruction, and what `display` asked for. */
export async function describeStop(session: Session, stop: Stop): Promise<Answer> {
  const vm = guest(session);
  remember(vm, stop);
  const data: Record<string, unknown> = { kind: stop.kind, vcpu: stop.vcpu.index };
  let text = await causeText(session, vm, stop, data);
  // gdb's way to let a breakpoint speak for itself.
  const breakpoint = "breakpoint" in stop ? stop.breakpoint : undefined;
  const silent = breakpoint !== undefined &&
    guestState(vm).notes.get(breakpoint.id)?.commands?.[0] === "silent";
  if (stop.kind === "gone") return { text, data };
  const where = position(session, stop.registers, data);
  text += `${joint(stop)}${where}\n`;
  text += await whatIsNext(session, stop.registers, data);
  data.registers = registerData(REGISTER_GROUPS.general, stop.registers);
  const displays = await showDisplays(session, true);
  if (displays.text !== "") {
    text += displays.text;
    data.displays = displays.data;
  }
  return { text: silent ? "" : text, data };
}

/** Where the guest stands, without a stop: after `start`, `open`, a change of frame. */
export async function showPosition(session: Session): Promise<Answer> {
  const registers = await registersOf(session);
  const data: Record<string, unknown> = { vcpu: session.vcpu };
  const text = `${position(session, registers, data)}\n${await whatIsNext(session, registers, data)}`;
  return { text, data };
}

/** Keeps the registers, so that the next stop can show what changed. */
function remember(vm: GuestMachine, stop: Stop): void {
  const { last, before } = guestState(vm);
  const old = last.get(stop.vcpu.index);
  if (old !== undefined) before.set(stop.vcpu.index, old);
  last.set(stop.vcpu.index, snapshot(stop.registers));
}

/** Between the cause and the place: gdb writes `Breakpoint 1, 0x... in f ()` on one line. */
function joint(stop: Stop): string {
  return stop.kind === "breakpoint" || stop.kind === "access" ? ", " : "";
}

async function whatIsNext(
  session: Session,
  registers: Registers,
  data: Record<string, unknown>,
): Promise<string> {
  if (showsContext(session)) {
    return await (await import("./context.ts")).contextView(session, registers);
  }
  const vm = guest(session);
  const pc = await linearPc(session);
  try {
    const list = await vm.disassemble(pc, { count: 1, vcpu: session.vcpu, syntax: syntaxSetting(session) });
    if (list.length > 0) data.instruction = instructionData(list[0]);
    const hint = list.length === 0 ? undefined : branchHint(list[0].text, registers);
    const symbol = (address: bigint) => symbolAt(vm, address);
    return instructionLines(list, { style: session.style, pc, symbol, tabs: true, hint });
  } catch (error) {
    // Code that can't be read is worth a line, and no reason to lose the stop.
    return `${session.style.error(reportError(error).message)}\n`;
  }
}

async function causeText(
  session: Session,
  vm: GuestMachine,
  stop: Stop,
  data: Record<string, unknown>,
): Promise<string> {
  switch (stop.kind) {
    case "breakpoint": {
      const { breakpoint } = stop;
      data.breakpoint = breakpoint.id;
      return `${breakpoint.once ? "Temporary breakpoint" : "Breakpoint"} ${breakpoint.id}`;
    }
    case "watchpoint":
      return await watchText(session, vm, stop, data);
    case "access":
      return accessText(vm, stop, data);
    case "step":
      return "";
    case "halt":
      return "The guest halted and nothing can wake it (HLT with interrupts off).\n";
    case "pause":
      return "Paused.\n";
    case "timeout":
      return "Stopped by its time limit.\n";
    case "shutdown":
      return await shutdownText(session, vm, stop, data);
    case "exit":
      data.code = stop.code;
      return `[The guest exited with code ${stop.code}]\n`;
    case "fault":
      return faultText(session, stop, data);
    case "gone":
      data.reason = stop.reason;
      return `[The guest is gone: ${stop.reason}]\n`;
    default:
      return stop satisfies never;
  }
}

async function watchText(
  session: Session,
  vm: GuestMachine,
  stop: Stop & { kind: "watchpoint" },
  data: Record<string, unknown>,
): Promise<string> {
  const { breakpoint } = stop;
  const note = noteOf(vm, breakpoint);
  data.breakpoint = breakpoint.id;
  data.watched = stop.address;
  const kind = note.readOnly
    ? "Read watchpoint"
    : breakpoint.access === "access"
    ? "Access watchpoint"
    : "Watchpoint";
  const what = note.what === "" ? hex(stop.address) : note.what;
  const size = Number(breakpoint.size);
  const shown = (value: bigint) => `${value} (${hex(value, size * 2)})`;
  const before = stop.before === undefined ? note.before ?? note.value : unsigned(stop.before);
  const after = stop.after === undefined ? await watchedNow(session, breakpoint, size) : unsigned(stop.after);
  note.value = after;
  if (before !== undefined) data.before = before;
  if (after !== undefined) data.after = after;
  const head = `${kind} ${breakpoint.id}: ${what} (${howWords(breakpoint)})\n`;
  if (after === undefined) return head;
  if (before === undefined || before === after) return `${head}Value = ${shown(after)}\n`;
  return `${head}Old value = ${shown(before)}\nNew value = ${shown(after)}\n`;
}

async function watchedNow(
  session: Session,
  breakpoint: Breakpoint,
  size: number,
): Promise<bigint | undefined> {
  const space = breakpoint.space === "gpa" ? "gpa" : "gva";
  try {
    return unsigned(await readPlace(session, { space, at: BigInt.asUintN(64, breakpoint.address) }, size));
  } catch {
    // Not mapped any more: the stop has to be told all the same.
    return undefined;
  }
}

function accessText(
  vm: GuestMachine,
  stop: Stop & { kind: "access" },
  data: Record<string, unknown>,
): string {
  const { space, address, write, breakpoint } = stop;
  const value = unsigned(stop.data.subarray(0, 8));
  Object.assign(data, { space, accessed: address, write, value, size: stop.data.length });
  if (stop.before !== undefined) data.before = unsigned(stop.before);
  if (breakpoint !== undefined) data.breakpoint = breakpoint.id;
  const head = breakpoint === undefined ? "Access" : `Catchpoint ${breakpoint.id}`;
  const requests = requestsOf(vm);
  if (requests.length > 0) data.requests = requests.map(({ device, request }) => ({ device, ...request }));
  const told = requests.map(({ device = "", request }) => `${device} ${requestText(request)}\n`).join("");
  return `${told}${head} (${accessWords(stop)})`;
}

/** The requests that a device took in the access that stopped: the trace has them behind it. At most eight. */
function requestsOf(vm: GuestMachine): (TraceEntry & { request: DeviceRequest })[] {
  const newest = vm.trace.entries({ last: REQUESTS });
  const access = newest.findLastIndex(({ request }) => request === undefined);
  return newest.slice(access + 1).flatMap(({ request, ...entry }) => request ? [{ ...entry, request }] : []);
}

async function shutdownText(
  session: Session,
  vm: GuestMachine,
  stop: Stop & { kind: "shutdown" },
  data: Record<string, unknown>,
): Promise<string> {
  data.reason = stop.reason;
  if (stop.detail !== undefined) data.detail = stop.detail;
  const detail = stop.detail === undefined ? "" : `: ${stop.detail}`;
  switch (stop.reason) {
    case "poweroff":
      return `[The guest switched itself off${detail}]\n`;
    case "reset":
      return `[The guest reset itself${detail}]\n`;
    case "crash":
      return `[The guest reported a crash${detail}]\n`;
    case "triple-fault": {
      let found: Autopsy;
      try {
        found = await vm.autopsy(stop.vcpu.index);
      } catch (error) {
        return `${session.style.error("Triple fault")}${detail}\n(no autopsy: ${
          reportError(error).message
        })\n`;
      }
      data.autopsy = found;
      const { renderAutopsy } = await import("./autopsy.ts");
      return `${session.style.error("Triple fault")}${detail}\n${
        renderAutopsy(found, session.style, session.width, (at) => symbolAt(vm, at))
      }`;
    }
    default:
      return stop.reason satisfies never;
  }
}

function faultText(session: Session, stop: Stop & { kind: "fault" }, data: Record<string, unknown>): string {
  data.reason = stop.reason;
  let text = `${session.style.error(`Fault: ${stop.reason}`)}\n`;
  if (stop.bytes !== undefined) {
    data.bytes = stop.bytes;
    text += `Bytes: ${Array.from(stop.bytes, (b) => b.toString(16).padStart(2, "0")).join(" ")}\n`;
  }
  if (stop.error !== undefined) {
    const { message, remedy, frames } = reportError(stop.error);
    data.error = message;
    // Reason and error are often the same sentence with another beginning.
    if (!stop.reason.includes(message.replace(/^.* threw: /, ""))) {
      text += `${message}\n`;
    }
    for (const frame of frames) text += `${session.style.dim(`    ${frame}`)}\n`;
    if (remedy !== undefined) text += `${remedy}\n`;
  }
  return text;
}
