import { OwnedFd } from "../host/fd.ts";
import { HostError } from "../host/error.ts";
import {
  KVM,
  kvm_debugregs,
  kvm_lapic_state,
  kvm_mp_state,
  kvm_msr_entry,
  kvm_msrs,
  kvm_signal_mask,
  kvm_vcpu_events,
  kvm_xcrs,
  kvm_xsave,
} from "./abi.ts";

/** One value of a model-specific register. */
export interface MsrValue {
  readonly index: number;
  readonly value: bigint;
}

/**
 * The descriptor of one vCPU, with one method for each request that reads or writes a group of its state. Every one
 * of them throws a `HostError` if KVM refuses.
 */
export class VcpuFd extends OwnedFd {
  /** Reads a whole structure into a new buffer. */
  #get(name: string, request: number, size: number): Uint8Array<ArrayBuffer> {
    const into = new Uint8Array(size);
    this.ioctlBuffer(name, request, into);
    return into;
  }

  /** Fills `into` with `struct kvm_regs`. */
  getRegs(into: BigUint64Array<ArrayBuffer>): void {
    this.ioctlBuffer("KVM_GET_REGS", KVM.GET_REGS, into);
  }

  setRegs(from: BigUint64Array<ArrayBuffer>): void {
    this.ioctlBuffer("KVM_SET_REGS", KVM.SET_REGS, from);
  }

  /** Fills `into` with `struct kvm_sregs`. */
  getSregs(into: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer("KVM_GET_SREGS", KVM.GET_SREGS, into);
  }

  setSregs(from: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer(
      "KVM_SET_SREGS",
      KVM.SET_SREGS,
      from,
      "These segment and control registers contradict each other: look at CR0.PG and PE, CR4.PAE, EFER.LME and LMA, and CS.L.",
    );
  }

  getEvents(into: Uint8Array<ArrayBuffer> = new Uint8Array(kvm_vcpu_events.size)): Uint8Array<ArrayBuffer> {
    this.ioctlBuffer("KVM_GET_VCPU_EVENTS", KVM.GET_VCPU_EVENTS, into);
    return into;
  }

  setEvents(from: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer("KVM_SET_VCPU_EVENTS", KVM.SET_VCPU_EVENTS, from);
  }

  getDebugRegs(): Uint8Array<ArrayBuffer> {
    return this.#get("KVM_GET_DEBUGREGS", KVM.GET_DEBUGREGS, kvm_debugregs.size);
  }

  setDebugRegs(from: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer(
      "KVM_SET_DEBUGREGS",
      KVM.SET_DEBUGREGS,
      from,
      "The upper halves of DR6 and DR7 must be zero.",
    );
  }

  getXsave(): Uint8Array<ArrayBuffer> {
    return this.#get("KVM_GET_XSAVE", KVM.GET_XSAVE, kvm_xsave.size);
  }

  setXsave(from: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer(
      "KVM_SET_XSAVE",
      KVM.SET_XSAVE,
      from,
      "MXCSR may only have bits that MXCSR_MASK has, and the header only components that this host has.",
    );
  }

  getXcrs(): Uint8Array<ArrayBuffer> {
    return this.#get("KVM_GET_XCRS", KVM.GET_XCRS, kvm_xcrs.size);
  }

  setXcrs(from: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer("KVM_SET_XCRS", KVM.SET_XCRS, from, "XCR0 needs bit 0, and bit 1 before bit 2.");
  }

  getLapic(): Uint8Array<ArrayBuffer> {
    return this.#get("KVM_GET_LAPIC", KVM.GET_LAPIC, kvm_lapic_state.size);
  }

  setLapic(from: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer("KVM_SET_LAPIC", KVM.SET_LAPIC, from);
  }

  readonly #mpState = new Uint32Array(kvm_mp_state.size / 4);

  /** KVM_MP_STATE_*: runnable, halted, waiting for SIPI. */
  getMpState(): number {
    this.ioctlBuffer("KVM_GET_MP_STATE", KVM.GET_MP_STATE, this.#mpState);
    return this.#mpState[0];
  }

  setMpState(state: number): void {
    this.#mpState[0] = state;
    this.ioctlBuffer("KVM_SET_MP_STATE", KVM.SET_MP_STATE, this.#mpState);
  }

  /** Reads MSRs until the first that KVM does not know; gives those before it. */
  getMsrs(indices: readonly number[]): MsrValue[] {
    const buffer = new Uint8Array(kvm_msrs.size + indices.length * kvm_msr_entry.size);
    const view = new DataView(buffer.buffer);
    kvm_msrs.write(view, { nmsrs: indices.length });
    indices.forEach((index, i) =>
      kvm_msr_entry.write(view, { index }, kvm_msrs.size + i * kvm_msr_entry.size)
    );
    const count = this.ioctlBuffer("KVM_GET_MSRS", KVM.GET_MSRS, buffer);
    return indices.slice(0, count).map((index, i) => ({
      index,
      value: kvm_msr_entry.read(view, kvm_msrs.size + i * kvm_msr_entry.size).data,
    }));
  }

  /** Writes MSRs until the first that KVM refuses; gives how many it took. */
  setMsrs(values: readonly MsrValue[]): number {
    const buffer = new Uint8Array(kvm_msrs.size + values.length * kvm_msr_entry.size);
    const view = new DataView(buffer.buffer);
    kvm_msrs.write(view, { nmsrs: values.length });
    values.forEach(({ index, value }, i) =>
      kvm_msr_entry.write(view, { index, data: value }, kvm_msrs.size + i * kvm_msr_entry.size)
    );
    return this.ioctlBuffer("KVM_SET_MSRS", KVM.SET_MSRS, buffer);
  }

  /** The signals that are blocked while the vCPU runs. @param mask 8 bytes, as the kernel has signal sets. */
  setSignalMask(mask: Uint8Array<ArrayBuffer>): void {
    const buffer = new Uint8Array(kvm_signal_mask.size + mask.length);
    kvm_signal_mask.write(new DataView(buffer.buffer), { len: mask.length });
    buffer.set(mask, kvm_signal_mask.size);
    this.ioctlBuffer("KVM_SET_SIGNAL_MASK", KVM.SET_SIGNAL_MASK, buffer);
  }

  setCpuid(leaves: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer("KVM_SET_CPUID2", KVM.SET_CPUID2, leaves);
  }

  /** Sends an NMI. */
  nmi(): void {
    this.ioctl("KVM_NMI", KVM.NMI);
  }

  readonly #interrupt = new Uint32Array(1);

  /** Makes the vCPU take an external interrupt now; only without an in-kernel irqchip, and when it can take one. */
  interrupt(vector: number): void {
    this.#interrupt[0] = vector;
    this.ioctlBuffer("KVM_INTERRUPT", KVM.INTERRUPT, this.#interrupt);
  }

  /** Sets the debugger's own debug registers and what is reported to it: `struct kvm_guest_debug`. */
  setGuestDebug(from: Uint8Array<ArrayBuffer>): void {
    this.ioctlBuffer(
      "KVM_SET_GUEST_DEBUG",
      KVM.SET_GUEST_DEBUG,
      from,
      "This host can't do it, or an exception is waiting to be delivered: step once and try again.",
    );
  }

  /** errno of a KVM_RUN that gave -1, as an error. */
  runFailed(index: number, failed: number): HostError {
    return new HostError(`ioctl KVM_RUN of vCPU ${index}`, failed, {
      remedy: "Look at the kernel's log (dmesg) for what KVM says, and at the guest's registers.",
    });
  }
}
