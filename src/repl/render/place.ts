/** Where the guest stands, in one line. */
import type { Registers } from "../../dsl/mod.ts";
import { bitness, cpuMode, linearRip } from "../../dsl/modes.ts";
import { symbolAt } from "../commands/selected.ts";
import type { Session } from "../session.ts";
import { far, hex } from "./text.ts";

/** Whether a place is told with the context view: to who sits at a terminal and has not switched it off. */
export function showsContext(session: Session): boolean {
  return session.contextShown && !session.json;
}

/** `0x00100010 in kernel_main+0x10 ()`, in real mode `f000:fff0 (0x000ffff0)`. */
export function position(session: Session, registers: Registers, data: Record<string, unknown>): string {
  const { style, vm } = session;
  const at = linearRip(registers);
  const symbol = symbolAt(vm, at);
  data.rip = registers.rip;
  data.address = at;
  if (symbol !== undefined) data.symbol = symbol;
  const mode = cpuMode(registers);
  const digits = bitness(registers) === 64 ? 16 : 8;
  const shown = mode === "real" || mode === "virtual-8086"
    ? `${far(registers.cs, registers.rip)} (${hex(at)})`
    : hex(at, digits);
  return `${style.address(shown)} in ${style.symbol(symbol ?? "??")} ()`;
}
