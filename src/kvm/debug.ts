import type { HardwareTrap, Traps } from "../vm/backend.ts";
import { FLAG, kvm_guest_debug } from "./abi.ts";

/** DR7 fields (SDM vol. 3B, 18.2.4). */
const DR7_ALWAYS = 0x400n;
const ACCESS = { execute: 0n, write: 1n, access: 3n } as const;
const LENGTH = { 1: 0n, 2: 1n, 4: 3n, 8: 2n } as const;

/**
 * Checks what the debug registers shall hold.
 *
 * @throws {RangeError} If there are more than four traps, or one is not aligned or has an impossible size.
 */
export function checkTraps(traps: Traps): void {
  if (traps.hardware.length > 4) throw new RangeError("The processor has four debug registers.");
  for (const trap of traps.hardware) {
    if (trap === undefined) continue;
    const { address, access, size } = trap;
    if (!(size in LENGTH) || (access === "execute" && size !== 1)) {
      throw new RangeError(`A debug register can't watch ${size} bytes for ${access}.`);
    }
    if (BigInt.asUintN(64, address) % BigInt(size) !== 0n) {
      throw new RangeError(`A trap on ${size} bytes must lie at a multiple of ${size}.`);
    }
  }
}

/** What kinds of trap DR7 shall switch on. */
export interface Armed {
  readonly execute: boolean;
  readonly data: boolean;
}

/** DR7 for these traps. */
export function dr7(hardware: readonly (HardwareTrap | undefined)[], armed: Armed): bigint {
  let value = 0n;
  hardware.forEach((trap, i) => {
    if (trap === undefined || !(trap.access === "execute" ? armed.execute : armed.data)) return;
    // Local and global enable, then R/W and LEN of this slot.
    value |= 3n << BigInt(2 * i);
    value |= (ACCESS[trap.access] | (LENGTH[trap.size] << 2n)) << BigInt(16 + 4 * i);
  });
  // LE and GE, which processors of our days ignore but for which the manual still asks.
  return value === 0n ? DR7_ALWAYS : value | DR7_ALWAYS | 0x300n;
}

/** How a vCPU shall run next, as far as the debugger is concerned. */
export interface DebugMode {
  readonly singleStep: boolean;
  readonly blockInterrupts: boolean;
  readonly armed: Armed;
  readonly int3: boolean;
}

/** `struct kvm_guest_debug` for a mode and its traps. */
export function encodeGuestDebug(traps: Traps, mode: DebugMode): Uint8Array<ArrayBuffer> {
  const control7 = dr7(traps.hardware, mode.armed);
  let control = 0;
  if (mode.singleStep) control |= FLAG.GUESTDBG_SINGLESTEP;
  if (mode.singleStep && mode.blockInterrupts) control |= FLAG.GUESTDBG_BLOCKIRQ;
  if (mode.int3 && traps.int3) control |= FLAG.GUESTDBG_USE_SW_BP;
  if (control7 !== DR7_ALWAYS) control |= FLAG.GUESTDBG_USE_HW_BP;
  if (control !== 0) control |= FLAG.GUESTDBG_ENABLE;
  const debugreg = [0, 1, 2, 3].map((i) => BigInt.asUintN(64, traps.hardware[i]?.address ?? 0n));
  return kvm_guest_debug.encode({ control, arch: { debugreg: [...debugreg, 0n, 0n, 0n, control7] } });
}
