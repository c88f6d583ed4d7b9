import { Mapping } from "../host/mapping.ts";
import { FLAG, kvm_run, kvm_sync_regs } from "./abi.ts";

/** Byte offsets in the shared page that are read after every exit. */
export const AT = {
  requestInterruptWindow: kvm_run.offsets.request_interrupt_window,
  immediateExit: kvm_run.offsets.immediate_exit,
  reason: kvm_run.offsets.exit_reason,
  readyForInterrupt: kvm_run.offsets.ready_for_interrupt_injection,
  cr8: kvm_run.offsets.cr8,
  exit: kvm_run.offsets.exit,
  validRegs: kvm_run.offsets.kvm_valid_regs,
  dirtyRegs: kvm_run.offsets.kvm_dirty_regs,
  regs: kvm_run.offsets.s + kvm_sync_regs.offsets.regs,
  sregs: kvm_run.offsets.s + kvm_sync_regs.offsets.sregs,
  events: kvm_run.offsets.s + kvm_sync_regs.offsets.events,
} as const;

/**
 * The memory that a vCPU shares with its owner (`struct kvm_run`), with the views that the hot path reads it through.
 * KVM keeps the general registers in it, and segments, control registers and events where it is told to
 * (KVM_CAP_SYNC_REGS): no ioctl is needed to read them.
 */
export class RunPage implements Disposable {
  readonly #mapping: Mapping;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  readonly words32: Uint32Array<ArrayBuffer>;
  readonly words64: BigUint64Array<ArrayBuffer>;
  /** `struct kvm_regs`, as KVM_GET_REGS fills it. */
  readonly regs: BigUint64Array<ArrayBuffer>;
  /** The same, as 32-bit words. */
  readonly regs32: Uint32Array<ArrayBuffer>;
  /** `struct kvm_sregs`, as KVM_GET_SREGS fills it. */
  readonly sregs: Uint8Array<ArrayBuffer>;
  /** The same, as 32-bit words. */
  readonly sregs32: Uint32Array<ArrayBuffer>;
  /** `struct kvm_vcpu_events`. */
  readonly events: Uint8Array<ArrayBuffer>;
  /**
   * Maps the page of a vCPU.
   *
   * @param fd The vCPU's descriptor.
   * @param length What KVM_GET_VCPU_MMAP_SIZE gave.
   * @throws {HostError} If it can't be mapped.
   */
  constructor(fd: number, length: number) {
    this.#mapping = Mapping.ofFd(fd, length);
    const { buffer } = this.#mapping;
    this.bytes = this.#mapping.bytes;
    this.view = new DataView(buffer);
    this.words32 = new Uint32Array(buffer);
    this.words64 = new BigUint64Array(buffer);
    this.regs = new BigUint64Array(buffer, AT.regs, kvm_sync_regs.fields.regs.size / 8);
    this.regs32 = new Uint32Array(buffer, AT.regs, kvm_sync_regs.fields.regs.size / 4);
    this.sregs = new Uint8Array(buffer, AT.sregs, kvm_sync_regs.fields.sregs.size);
    this.events = new Uint8Array(buffer, AT.events, kvm_sync_regs.fields.events.size);
    this.sregs32 = new Uint32Array(buffer, AT.sregs, kvm_sync_regs.fields.sregs.size / 4);
    this.words64[AT.validRegs / 8] = BigInt(FLAG.SYNC_X86_REGS);
  }

  /** Unmaps it; every view has length 0 afterwards. */
  [Symbol.dispose](): void {
    this.#mapping[Symbol.dispose]();
  }
}
