/** Putting a domain right whose debugger was killed, by what that one had written down. */

import { HostError } from "../host/error.ts";
import type { XenControl } from "../host/xen/control.ts";
import type { DeviceModel } from "../host/xen/device_model.ts";
import { EventChannels } from "../host/xen/event_channels.ts";
import type { ForeignMemory } from "../host/xen/foreign_memory.ts";
import { FaultError, HvshError, StateError } from "../vm/errors.ts";
import { TRAP_PORT } from "../vm/trap_port.ts";
import { linearRip } from "../x86/mode.ts";
import { walk } from "../x86/paging.ts";
import { CROSSING_PORT } from "./crossing.ts";
import type { DomainRecord } from "./domain.ts";
import type { HvmVcpu } from "./hvm_vcpu.ts";
import { IoreqServer } from "./ioreq_server.ts";
import { type Found, type Left, leftMarks, type PatchMark, remove } from "./marks.ts";
import type { XenMemory } from "./memory.ts";
import { Monitor } from "./monitor.ts";
import { PvStopper, type StopperParts } from "./pv_stopper.ts";

/** How long a vCPU may take through the stop stub's way in and out. */
const SETTLE_MS = 2000;
/** OUT imm8, AL. */
const OUT_BYTES = 2n;

/** What repairs take. The domain is paused by who calls, and stays so. */
export interface RepairParts {
  readonly control: XenControl;
  readonly domain: DomainRecord;
  readonly memory: XenMemory;
  /** Of a PV domain. */
  readonly pv?: StopperParts;
  /** Of an HVM or PVH domain. */
  readonly hvm?: {
    readonly vcpus: readonly HvmVcpu[];
    readonly model: DeviceModel;
    readonly foreign: ForeignMemory;
  };
}

/**
 * Puts right what killed debuggers left in a domain, and removes their journals.
 *
 * @param paused Whether the domain was paused before this debugger paused it.
 * @returns A sentence for each journal that was found.
 */
export function repair(parts: RepairParts, paused: boolean, folder?: string): string[] {
  const { id } = parts.domain;
  return leftMarks(id, folder).map((found) => {
    const told = mend(parts, found, paused);
    remove(found.path);
    return told;
  });
}

function mend(parts: RepairParts, { path, left, problem }: Found, paused: boolean): string {
  const { id, name, uuid } = parts.domain;
  if (left === undefined) {
    return `The journal ${path} can't be used (${problem}): what a killed hvsh left in domain ${id} is not known; ` +
      "restart the domain if it stands still";
  }
  if (left.uuid !== uuid || left.domain !== id) {
    return `The journal ${path} is of another domain that had the number ${id}: it was removed, and nothing was changed`;
  }
  const done: string[] = [];
  // A pause that somebody took back meanwhile (xl unpause) is not there any more.
  if (left.held && paused) {
    parts.control.unpause(id);
    done.push("its pause");
  }
  const bytes = left.patches.filter((patch) => putBack(parts.memory, patch));
  if (bytes.length > 0) done.push(counted(bytes.length, "breakpoint"));
  try {
    if (parts.pv !== undefined) mendPv(parts.control, id, parts.pv, left, done);
    else if (parts.hvm !== undefined) mendHvm(parts, parts.hvm, left, done);
  } catch (error) {
    if (!(error instanceof HvshError || error instanceof HostError)) throw error;
    return `What a killed hvsh (process ${left.owner.pid}) left in ${name} could be put right in part only ` +
      `(${done.join(", ") || "nothing"}): ${error.message}`;
  }
  const what = done.length === 0 ? "nothing that was left to be put right" : done.join(", ");
  return `A hvsh (process ${left.owner.pid}) was killed while it was attached to ${name}; put right: ${what}`;
}

/** Writes the guest's bytes back where the debugger's stand still. @returns Whether they did. */
export function putBack(memory: XenMemory, { at, code, original }: PatchMark): boolean {
  const now = new Uint8Array(code.length);
  try {
    memory.read(at, now);
    if (!now.every((byte, i) => byte === code[i])) return false;
    memory.write(at, original);
    return true;
  } catch (error) {
    // The guest gave that memory away, or is gone with all of it.
    if (error instanceof FaultError || error instanceof StateError) return false;
    throw error;
  }
}

function mendPv(control: XenControl, id: number, parts: StopperParts, left: Left, done: string[]): void {
  if (left.stub === undefined) return;
  const stopper = new PvStopper(parts, left);
  const end = performance.now() + SETTLE_MS;
  for (stopper.gather(); stopper.unsettled(); stopper.gather()) {
    if (performance.now() > end) {
      stopper.close(false);
      throw new StateError(`a vCPU of domain ${id} does not come out of the stop stub`, "running", {
        remedy: `\`xl unpause ${id}\`, and attach again`,
      });
    }
    control.unpause(id);
    stopper.wait(1);
    control.pause(id);
  }
  stopper.close(true);
  done.push("the stop stub and the vectors that led to it");
  tellRegisters(left, done);
}

function mendHvm(
  { control, domain: { id }, memory }: RepairParts,
  { vcpus, model, foreign }: NonNullable<RepairParts["hvm"]>,
  left: Left,
  done: string[],
): void {
  using channels = new EventChannels();
  const common = { domain: id, vcpus: vcpus.length, channels };
  const server = left.server === undefined ? undefined : found(() =>
    new IoreqServer(
      { ...common, model, foreign, memory, everything: false, rax: (vcpu) => vcpus[vcpu].rax },
      left.server,
    )
  );
  if (server !== undefined) {
    for (let event = server.take(); event !== undefined; event = server.take()) {
      const { vcpu, exit } = event;
      if (exit.kind === "io-out" && [TRAP_PORT, CROSSING_PORT].includes(exit.port)) {
        rewind(vcpus[vcpu], memory, left.patches);
      }
    }
    server.close(true);
    done.push("the device model for breakpoints");
  }
  if (!left.monitor) return;
  const change: StopperParts["change"] = (vcpu, body) => vcpus[vcpu].changeContext(body);
  const setTrapFlag = (vcpu: number, on: boolean) => vcpus[vcpu].setTrapFlag(on);
  const general = (vcpu: number) => vcpus[vcpu].general();
  Monitor.takeOver({ ...common, control, change, setTrapFlag, general }, left).close(true);
  done.push("the vm_event listener");
  tellRegisters(left, done);
}

/** Undefined where Xen has none of that number any more. */
function found(make: () => IoreqServer): IoreqServer | undefined {
  try {
    return make();
  } catch (error) {
    if (error instanceof HostError) return undefined;
    throw error;
  }
}

/** A vCPU that executed a breakpoint's OUT stands behind it: the guest's own instruction there was not run yet. */
function rewind(vcpu: HvmVcpu, memory: XenMemory, patches: readonly PatchMark[]): void {
  const registers = vcpu.registers();
  const rip = registers.rip - OUT_BYTES;
  const found = walk(registers, linearRip(registers) - OUT_BYTES, (gpa, into) => memory.read(gpa, into));
  if (found instanceof Promise || !found.ok || !patches.some(({ at }) => at === found.gpa)) return;
  vcpu.changeContext((context) => context.set("rip", rip));
}

function tellRegisters(left: Left, done: string[]): void {
  if (left.registers.size > 0) done.push(`the debug registers of ${counted(left.registers.size, "vCPU")}`);
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}
