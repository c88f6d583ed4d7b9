/** Guests of our own: created by xl, paused at their first instruction, destroyed when they are closed. */

import { XenControl } from "../host/xen/control.ts";
import { XenStore } from "../host/xen/store.ts";
import { powerOn } from "../x86/boot/state.ts";
import { AttachedDomain, terminalPath } from "./attached.ts";
import { capabilitiesOf } from "./capabilities.ts";
import { configFiles, configLines, LEAST_MIB, type XenGuest } from "./config.ts";
import type { InstructionLength } from "./crossing.ts";
import { findDomain } from "./domain.ts";
import { LOAD_ADDRESS, pvhElf } from "./tiny_guest.ts";
import { createPaused, destroy, forget, NAME_PREFIX } from "./xl.ts";

/** How long xenconsoled, or the device model, is given to open the console. */
const CONSOLE_MS = 3000;
const LOOK_MS = 20;
const PAGE = 4096;
const MIB = 1 << 20;

/** HLT: it is never run, since whoever opens such a guest sends it elsewhere first. */
const NOTHING = pvhElf([0xf4]);

let count = 0;

/**
 * Creates a domain. One that the toolstack is given nothing to load for has empty memory, and stands as after power-on.
 *
 * @throws {HvshError} If xl fails, with what it said.
 * @throws {InputError} If something can't be told to xl.
 * @throws {HostError} If Xen refuses.
 */
export async function openDomain(guest: XenGuest, lengthOf: InstructionLength): Promise<AttachedDomain> {
  const { kind, memory } = guest;
  const blank = kind !== "pv" && guest.kernel === undefined && guest.firmware === undefined;
  const whole: XenGuest = !blank
    ? guest
    : { ...guest, ...(kind === "pvh" ? { kernel: { image: NOTHING } } : { loader: NOTHING }) };
  const name = `${NAME_PREFIX}${Deno.pid}-${++count}`;
  createPaused(name, configLines(whole), configFiles(whole));
  const own = { name: `xen-${kind}`, destroy: () => destroy(name), forget: () => forget(name) } as const;
  let domain: AttachedDomain | undefined;
  try {
    await consoleOf(name);
    // An HVM guest has QEMU's devices, which answer everything.
    const devices = kind === "pvh";
    domain = new AttachedDomain(name, {
      capabilities: (of) => capabilitiesOf(of, devices),
      adopt: true,
      own,
      devices,
      lengthOf,
      ...(blank && devices && { memory }),
    });
    if (blank) {
      if (devices) trim(domain.domain.id, memory);
      domain.memory.write(BigInt(LOAD_ADDRESS), new Uint8Array(NOTHING.length));
      domain.vcpus[0].setRegisters(powerOn());
    }
    return domain;
  } catch (error) {
    if (domain === undefined) destroy(name);
    else domain.close();
    throw error;
  }
}

/** Takes back what the toolstack's rounding gave a guest beyond its RAM: devices may be there. */
function trim(id: number, memory: number): void {
  const first = memory / PAGE;
  const end = Math.ceil(Math.max(memory, LEAST_MIB * MIB) / MIB) * MIB / PAGE;
  if (first === end) return;
  using control = new XenControl();
  control.takeBack(id, BigUint64Array.from({ length: end - first }, (_, i) => BigInt(first + i)));
}

/** Waits until the console can be opened. A guest without one is a guest still. */
async function consoleOf(name: string): Promise<void> {
  using control = new XenControl();
  using store = new XenStore();
  const path = terminalPath(findDomain(control, store, name));
  const end = performance.now() + CONSOLE_MS;
  while (!store.read(path) && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
