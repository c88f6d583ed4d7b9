import type { BackendMemory, VcpuEvents } from "../vm/backend.ts";
import type { Registers, RegisterValues } from "../vm/registers.ts";
import { cpl, cpuMode } from "../x86/mode.ts";

/**
 * KVMs in software leave a guest at INT n and at IRET of 32-bit kernels, as their emulators know neither: what handlers
 * of interrupts begin and end with. They are done here, where nothing but the usual is asked of them: CPL 0; 64-bit mode
 * (INT n alone), or no paging and a return to the same segment. All else stays the failure that it is.
 */

/** The guest whose instruction KVM could not do. */
export interface UnfinishedGuest {
  readonly memory: Pick<BackendMemory, "read">;
  registers(): Registers;
  setRegisters(values: RegisterValues): void;
  events(): VcpuEvents;
  setEvents(change: Partial<VcpuEvents>): void;
}

const INT = 0xcd;
const IRET = 0xcf;
const PG_BIT = 1n << 31n;
const NT_BIT = 1n << 14n;
const VM_BIT = 1n << 17n;
/** EFLAGS that IRET loads at CPL 0 (SDM vol. 2, IRET): ID, VIP, VIF, AC, RF, NT, IOPL and the low flags but the fixed ones. */
const LOADED = 0x003d_7fd5n;
const FIXED = 2n;
const FRAME_BYTES = 12;
/** SS.B, in the form of segment attributes here. */
const BIG_BIT = 1n << 14n;

/**
 * Does the instruction at RIP, if it is one of these.
 *
 * @param bytes Of the instruction, as KVM's exit shows them.
 * @returns False if nothing was changed, and the failure is to be reported.
 */
export function completeInstruction(guest: UnfinishedGuest, bytes: Uint8Array): boolean {
  const [opcode, vector] = bytes;
  if (opcode !== IRET && (opcode !== INT || bytes.length < 2)) return false;
  const registers = guest.registers();
  const mode = cpuMode(registers);
  if (cpl(registers) !== 0) return false;
  const usual = mode === "protected32" && (registers.cr0 & PG_BIT) === 0n;
  if (opcode === IRET) return usual && interruptReturn(guest, registers);
  if (!usual && mode !== "long") return false;
  guest.setRegisters({ rip: registers.rip + 2n });
  // KVM reads the gate and pushes the frame; a fault on the way is the guest's.
  guest.setEvents({ interrupt: { vector, soft: false } });
  return true;
}

function interruptReturn(guest: UnfinishedGuest, registers: Registers): boolean {
  const { rsp, rflags, cs, cs_limit, ss_base, ss_attributes } = registers;
  // A return to another task.
  if ((rflags & NT_BIT) !== 0n || (ss_attributes & BIG_BIT) === 0n) return false;
  const frame = new Uint8Array(FRAME_BYTES);
  try {
    guest.memory.read(BigInt.asUintN(32, ss_base + rsp), frame);
  } catch {
    return false; // The stack is no memory.
  }
  const view = new DataView(frame.buffer);
  const eip = BigInt(view.getUint32(0, true));
  const flags = BigInt(view.getUint32(8, true));
  // The same selector has the same descriptor in hand; another would have to be loaded and checked.
  if (BigInt(view.getUint16(4, true)) !== cs || (flags & VM_BIT) !== 0n || eip > cs_limit) return false;
  guest.setRegisters({
    rip: eip,
    rsp: BigInt.asUintN(32, rsp + BigInt(FRAME_BYTES)),
    rflags: flags & LOADED | FIXED,
  });
  // NMIs are let in again (SDM vol. 3A, 7.7.1).
  if (guest.events().nmiMasked) guest.setEvents({ nmiMasked: false });
  return true;
}
