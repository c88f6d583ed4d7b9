/** What the run loop answers by itself, and which exits are stops whatever the debugger thinks. */
import type { BackendVcpu, MaybePromise } from "./backend.ts";
import type { Buses } from "./dispatch.ts";
import { HvshError } from "./errors.ts";
import type { AccessExit, DebugExit, MmioExit, MsrExit, PortExit, ReportExit, VmExit } from "./exit.ts";
import { then } from "./promise.ts";
import type { StopCause } from "./stop.ts";

/** Exits that end a run. */
export type FinalExit = Exclude<
  VmExit,
  AccessExit | DebugExit | ReportExit | { readonly kind: "halt" | "slice" | "irq-window" }
>;

/** The stop that such an exit is. */
export function stopOf(exit: FinalExit): StopCause {
  switch (exit.kind) {
    case "shutdown":
      return { kind: "shutdown", reason: "triple-fault" };
    case "system-event":
      return exit.event === "other"
        ? { kind: "fault", reason: `the guest raised a system event: ${exit.detail}` }
        : { kind: "shutdown", reason: exit.event, detail: exit.detail };
    case "fail-entry":
      return {
        kind: "fault",
        reason: `the processor refused to enter the guest (reason 0x${exit.reason.toString(16)})`,
      };
    case "internal-error":
      return { kind: "fault", reason: exit.reason, ...(exit.bytes && { bytes: exit.bytes.slice() }) };
    case "exit":
      return { kind: "exit", code: exit.code };
    case "gone":
      return { kind: "gone", reason: exit.reason };
    case "unsupported":
      return { kind: "fault", reason: exit.reason };
    default:
      return exit satisfies never;
  }
}

/** An MSR a filter handed out is read or written for the guest; an unknown one gets #GP, as on hardware. */
export function answerMsr(vcpu: BackendVcpu, exit: MsrExit): MaybePromise<void> {
  if (exit.reason !== "filter") return exit.fail();
  const view = new DataView(exit.data.buffer, exit.data.byteOffset, 8);
  try {
    const done = exit.kind === "msr-read"
      ? then(vcpu.readMsr(exit.index), (value) => view.setBigUint64(0, value, true))
      : vcpu.writeMsr(exit.index, view.getBigUint64(0, true));
    return done instanceof Promise ? done.catch(() => exit.fail()) : undefined;
  } catch {
    // The hypervisor refuses the MSR or the value: so would the processor, with #GP.
    return exit.fail();
  }
}

/** Which device, and what is asked of it: "device card", "a read of 1 byte at port 0x777". */
export function accessed(
  exit: PortExit | MmioExit,
  buses: Buses,
): { readonly who: string; readonly what: string } {
  const [bus, address] = "port" in exit ? [buses.port, exit.port] : [buses.mmio, exit.address];
  const name = bus.find(address)?.device.name ?? "a device";
  const direction = exit.kind === "io-in" || exit.kind === "mmio-read" ? "read" : "write";
  const { length } = exit.data;
  const place = `${"port" in exit ? "port " : ""}0x${address.toString(16)}`;
  return {
    who: `device ${name}`,
    what: `a ${direction} of ${length} byte${length === 1 ? "" : "s"} at ${place}`,
  };
}

/** What was thrown, in one line: an error's class tells more than its message, where it is no plain Error. */
export function thrownText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.name === "Error" || "remedy" in error ? error.message : `${error.name}: ${error.message}`;
}

/** A device threw: the guest stands at the access, which counts as answered. */
export function deviceFault(
  vcpu: BackendVcpu,
  exit: PortExit | MmioExit,
  buses: Buses,
  error: unknown,
): StopCause {
  const message = thrownText(error);
  const { who, what } = accessed(exit, buses);
  return {
    kind: "fault",
    reason: `${who} threw on ${what}, RIP 0x${vcpu.rip.toString(16)}: ${message}`,
    error: new HvshError(`${who} threw: ${message}`, {
      cause: error,
      remedy: "mend the device and continue: the access counts as answered",
    }),
  };
}
