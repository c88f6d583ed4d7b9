import type { VcpuEvents } from "../backend.ts";
import type { Core } from "./core.ts";

/** What is pending or held back, in the words of the contract. Nothing stays injected: delivery is at once. */
export function readEvents(core: Core): VcpuEvents {
  return {
    ...(core.exception === undefined ? {} : { exception: { ...core.exception, pending: true } }),
    ...(core.interrupt === undefined ? {} : { interrupt: { ...core.interrupt } }),
    shadow: core.shadow,
    nmiPending: core.nmiPending,
    nmiInjected: false,
    nmiMasked: core.nmiMasked,
    smm: false,
  };
}

/** Sets those given. There is no SMM here; an injected NMI is one that is pending. */
export function writeEvents(core: Core, events: Partial<VcpuEvents>): void {
  if ("exception" in events) {
    core.exception = events.exception && {
      vector: events.exception.vector,
      ...(events.exception.errorCode === undefined ? {} : { errorCode: events.exception.errorCode }),
    };
  }
  if ("interrupt" in events) core.interrupt = events.interrupt && { ...events.interrupt };
  if (events.shadow !== undefined) core.shadow = events.shadow & 3;
  if (events.nmiPending !== undefined) core.nmiPending = events.nmiPending;
  if (events.nmiInjected === true) core.nmiPending = true;
  if (events.nmiMasked !== undefined) core.nmiMasked = events.nmiMasked;
}
