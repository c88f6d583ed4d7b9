/** Thread ids: vCPU n is thread n + 1 of process 1 (GDB manual, E.1, "thread-id"). */
import { hexCount, PacketError } from "./text.ts";

/** Which vCPU a packet means: its index, or any, or every one. */
export type ThreadChoice = number | "any" | "all";

/** The thread id of a vCPU: `p1.2` where the client knows processes, else `2`. */
export function threadId(vcpu: number, multiprocess: boolean): string {
  return `${multiprocess ? "p1." : ""}${(vcpu + 1).toString(16)}`;
}

/** Reads a thread id, `pPID.TID`, `pPID` or `TID`; -1 is all, 0 is any. @throws {PacketError} If there is none such. */
export function threadChoice(text: string, vcpus: number): ThreadChoice {
  const [, process, thread] = /^(?:p(-?[0-9a-f]+)\.?)?(-?[0-9a-f]+)?$/i.exec(text) ?? [];
  if (process === undefined && thread === undefined) {
    throw new PacketError(`"${text.slice(0, 40)}" is no thread`);
  }
  if (process !== undefined && !["-1", "0", "1"].includes(process)) {
    throw new PacketError(`there is no process ${process}`);
  }
  // A process without a thread means all of its threads.
  if (thread === undefined || thread === "-1") return "all";
  if (thread === "0") return "any";
  const number = hexCount(thread);
  if (number > vcpus) throw new PacketError(`there is no thread ${number}`);
  return number - 1;
}
