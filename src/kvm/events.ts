import type { VcpuEvents } from "../vm/backend.ts";
import { FLAG, kvm_vcpu_events } from "./abi.ts";

const view = (state: Uint8Array<ArrayBuffer>) =>
  new DataView(state.buffer, state.byteOffset, state.byteLength);

/** KVM's `struct kvm_vcpu_events` in neutral words. */
export function decodeEvents(state: Uint8Array<ArrayBuffer>): VcpuEvents {
  const { exception, interrupt, nmi, smi } = kvm_vcpu_events.read(view(state));
  return {
    ...(exception.injected || exception.pending
      ? {
        exception: {
          vector: exception.nr,
          ...(exception.has_error_code ? { errorCode: exception.error_code } : {}),
          pending: exception.pending !== 0,
        },
      }
      : {}),
    ...(interrupt.injected ? { interrupt: { vector: interrupt.nr, soft: interrupt.soft !== 0 } } : {}),
    shadow: interrupt.shadow,
    nmiPending: nmi.pending !== 0,
    nmiInjected: nmi.injected !== 0,
    nmiMasked: nmi.masked !== 0,
    smm: smi.smm !== 0,
  };
}

/**
 * Writes neutral events over what KVM gave. Members that are missing stay; `exception` and `interrupt` that are
 * present but undefined take away what is there. `smm` can't be changed and is left out.
 */
export function mergeEvents(
  state: Uint8Array<ArrayBuffer>,
  change: Partial<VcpuEvents>,
): Uint8Array<ArrayBuffer> {
  const into = state.slice();
  const old = kvm_vcpu_events.read(view(state));
  const { exception, interrupt } = change;
  let flags = FLAG.VCPUEVENT_VALID_NMI_PENDING | FLAG.VCPUEVENT_VALID_SHADOW;
  // What KVM marked as valid beyond these (SMM, SIPI vector) stays as it was.
  flags |= old.flags;
  kvm_vcpu_events.write(view(into), {
    ...("exception" in change
      ? {
        exception: {
          // Without the payload capability KVM knows only "injected": pending ones are given to it the same way.
          injected: exception === undefined ? 0 : 1,
          pending: 0,
          nr: exception?.vector ?? 0,
          has_error_code: exception?.errorCode === undefined ? 0 : 1,
          error_code: exception?.errorCode ?? 0,
        },
      }
      : {}),
    interrupt: {
      ...("interrupt" in change
        ? {
          injected: interrupt === undefined ? 0 : 1,
          nr: interrupt?.vector ?? 0,
          soft: interrupt?.soft ? 1 : 0,
        }
        : {}),
      shadow: change.shadow ?? old.interrupt.shadow,
    },
    nmi: {
      pending: Number(change.nmiPending ?? old.nmi.pending),
      injected: Number(change.nmiInjected ?? old.nmi.injected),
      masked: Number(change.nmiMasked ?? old.nmi.masked),
    },
    flags,
  });
  return into;
}
