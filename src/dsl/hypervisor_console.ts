import type { Backend } from "../vm/backend.ts";
import type { GuestMachine } from "./machine.ts";

/** Ties the machine's console to that of a guest whose console is the hypervisor's. */
export function connectConsole(machine: GuestMachine, { console: own }: Backend): void {
  if (own === undefined) return;
  const { console, debugLog } = machine.ends;
  own.connect((bytes) => console.print(bytes), (bytes) => debugLog.print(bytes));
  console.connect((bytes) => own.type(bytes));
}
