import { kvm_regs, kvm_sregs } from "./abi.ts";
import type { MsrValue, VcpuFd } from "./vcpu_fd.ts";

/** Everything KVM lets one save of a vCPU, as it was when the vCPU was made. */
export interface PowerOnState {
  readonly regs: BigUint64Array<ArrayBuffer>;
  readonly sregs: Uint8Array<ArrayBuffer>;
  readonly xcrs: Uint8Array<ArrayBuffer>;
  readonly xsave: Uint8Array<ArrayBuffer>;
  readonly debugRegs: Uint8Array<ArrayBuffer>;
  readonly events: Uint8Array<ArrayBuffer>;
  readonly msrs: readonly MsrValue[];
  readonly lapic: Uint8Array<ArrayBuffer> | undefined;
  readonly mpState: number;
}

/** What decides which parts a vCPU has. */
interface Parts {
  readonly irqchip: boolean;
  readonly msrs: readonly number[];
}

/** Reads every MSR that can be read, however many of the list KVM refuses. */
function readAll(fd: VcpuFd, indices: readonly number[]): MsrValue[] {
  const values: MsrValue[] = [];
  for (let from = 0; from < indices.length;) {
    const got = fd.getMsrs(indices.slice(from));
    values.push(...got);
    // KVM stops at one that it refuses: leave that one out.
    from += got.length + 1;
  }
  return values;
}

/** Writes every MSR that can be written. */
function writeAll(fd: VcpuFd, values: readonly MsrValue[]): void {
  for (let from = 0; from < values.length;) from += fd.setMsrs(values.slice(from)) + 1;
}

/** Saves the state of a vCPU that has not run yet. */
export function capturePowerOn(fd: VcpuFd, parts: Parts): PowerOnState {
  const regs = new BigUint64Array(kvm_regs.size / 8);
  const sregs = new Uint8Array(kvm_sregs.size);
  fd.getRegs(regs);
  fd.getSregs(sregs);
  return {
    regs,
    sregs,
    xcrs: fd.getXcrs(),
    xsave: fd.getXsave(),
    debugRegs: fd.getDebugRegs(),
    events: fd.getEvents(),
    msrs: readAll(fd, parts.msrs),
    lapic: parts.irqchip ? fd.getLapic() : undefined,
    mpState: parts.irqchip ? fd.getMpState() : 0,
  };
}

/** Puts a vCPU back; the order matters: what depends on control registers and APIC base comes after them. */
export function restorePowerOn(fd: VcpuFd, parts: Parts, state: PowerOnState): void {
  fd.setSregs(state.sregs);
  fd.setXcrs(state.xcrs);
  fd.setXsave(state.xsave);
  fd.setRegs(state.regs);
  writeAll(fd, state.msrs);
  if (state.lapic !== undefined) fd.setLapic(state.lapic);
  if (parts.irqchip) fd.setMpState(state.mpState);
  fd.setDebugRegs(state.debugRegs);
  fd.setEvents(state.events);
}
