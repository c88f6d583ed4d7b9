import type { Core } from "../core.ts";
import { FORM } from "../instruction.ts";
import type { OpcodeRow } from "../row.ts";
import { generalProtection } from "../signals.ts";
import { RAX, RDX, type Size, TR } from "../state.ts";

const { BYTE, IMM8 } = FORM;

/** I/O privilege: IOPL, then the TSS's bit map (SDM vol. 1, 19.5). @throws {GuestFault} #GP(0). */
export function checkPort(core: Core, port: number, size: number): void {
  if (!core.protectedMode || core.cpl <= (core.flags >> 12 & 3)) return;
  const task = core.seg[TR];
  const denied = generalProtection();
  // Only a 32- or 64-bit TSS has a map; two bytes are read, for a port's bits may span them.
  if ((task.attributes & 0xd) !== 9 || task.limit < 103) throw denied;
  const at = Number(core.mmu.loadSystem(task.base + 102n, 2)) + (port >> 3);
  if (at + 1 > task.limit) throw denied;
  const bits = Number(core.mmu.loadSystem(task.base + BigInt(at), 2)) >> (port & 7);
  if ((bits & ((1 << size) - 1)) !== 0) throw denied;
}

function input(core: Core, port: number, operand: Size): void {
  const size = operand === 8 ? 4 : operand;
  checkPort(core, port, size);
  core.setRegister(RAX, size, core.log.portIn(port, size));
}

function output(core: Core, port: number, operand: Size): void {
  const size = operand === 8 ? 4 : operand;
  checkPort(core, port, size);
  core.log.portOut(port, size, core.register(RAX, size));
}

const dx = (core: Core) => Number(core.regs[RDX] & 0xffffn);

/** IN and OUT. */
export const PORT_ROWS: readonly OpcodeRow[] = [
  [0xe4, BYTE | IMM8, (core, i) => input(core, Number(i.immediate & 0xffn), 1)],
  [0xe5, IMM8, (core, i) => input(core, Number(i.immediate & 0xffn), i.size)],
  [0xe6, BYTE | IMM8, (core, i) => output(core, Number(i.immediate & 0xffn), 1)],
  [0xe7, IMM8, (core, i) => output(core, Number(i.immediate & 0xffn), i.size)],
  [0xec, BYTE, (core) => input(core, dx(core), 1)],
  [0xed, 0, (core, i) => input(core, dx(core), i.size)],
  [0xee, BYTE, (core) => output(core, dx(core), 1)],
  [0xef, 0, (core, i) => output(core, dx(core), i.size)],
];
