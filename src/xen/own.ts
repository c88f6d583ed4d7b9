/** Guests of our own: created by xl, paused at their first instruction, destroyed when they are closed. */

import { XenControl } from "../host/xen/control.ts";
import { XenStore } from "../host/xen/store.ts";
import { powerOn } from "../x86/boot/state.ts";
import { AttachedDomain, terminalPath } from "./attached.ts";
import { capabilitiesOf } from "./capabilities.ts";
import type { TakenSlots } from "./claims.ts";
import { configFiles, configLines, LEAST_MIB, type XenGuest } from "./config.ts";
import type { InstructionLength } from "./crossing.ts";
import { closeAtEnd } from "./leaving.ts";
import { findDomain, storeInDomain } from "./domain.ts";
import { Spares } from "./spares.ts";
import { LOAD_ADDRESS, pvhElf } from "./tiny_guest.ts";
import { createPaused, destroy, forget, NAME_PREFIX } from "./xl.ts";

/** How long xenconsoled, or the device model, is given to open the console. */
const CONSOLE_MS = 3000;
const LOOK_MS = 20;
const PAGE = 4096;
const MIB = 1 << 20;

/** HLT: it is never run, since whoever opens such a guest sends it elsewhere first. */
const NOTHING = pvhElf([0xf4]);

/** Larger guests are not kept: their memory has to be wiped. */
const SPARE_BYTES = 4 * MIB;
/** What the toolstack leaves in the memory of a guest that it loads nothing for: the start info behind the loader. */
const LEFT_BYTES = LEAST_MIB * MIB;

const spares = new Spares(destroy);
let count = 0;

/**
 * Creates a domain. One that the toolstack is given nothing to load for has empty memory, and stands as after power-on.
 *
 * @throws {HvshError} If xl fails, with what it said.
 * @throws {InputError} If something can't be told to xl.
 * @throws {HostError} If Xen refuses.
 */
export async function openDomain(
  guest: XenGuest,
  lengthOf: InstructionLength,
  taken: TakenSlots,
): Promise<AttachedDomain> {
  const { kind, memory, cpus } = guest;
  const blank = kind !== "pv" && guest.kernel === undefined && guest.firmware === undefined;
  const spare = blank ? spares.take(kind, memory, cpus) : undefined;
  const name = spare?.name ?? `${NAME_PREFIX}${Deno.pid}-${++count}`;
  // A signal that comes while xl is at work finds somebody who ends the domain.
  let letGo = () => {};
  if (spare === undefined) {
    const whole: XenGuest = !blank
      ? guest
      : { ...guest, ...(kind === "pvh" ? { kernel: { image: NOTHING } } : { loader: NOTHING }) };
    letGo = closeAtEnd(() => destroy(name));
    try {
      createPaused(name, configLines(whole), configFiles(whole));
    } catch (error) {
      letGo();
      throw error;
    }
  }
  // Xen's toolstack tells a kernel that it loads what there is, and QEMU is the device model of an HVM guest.
  const devices = kind === "pv" ? undefined : kind === "pvh" && blank ? "everything" : "claimed";
  const alone = devices === "everything";
  let domain: AttachedDomain | undefined;
  try {
    if (spare === undefined) await consoleOf(name);
    domain = new AttachedDomain(name, {
      capabilities: (of, events) => capabilitiesOf(of, events, devices, alone),
      adopt: true,
      own: {
        name: `xen-${kind}`,
        destroy: (pristine) => {
          if (pristine === undefined || memory > SPARE_BYTES) destroy(name);
          else spares.put({ name, kind, memory, cpus, pristine });
        },
        forget: () => forget(name),
      },
      ...(devices && { devices }),
      lengthOf,
      pci: { taken, configured: blank },
      ...(alone && { memory }),
    });
    if (blank) {
      // An HVM guest's first MiB has holes, and what lies there is its loader's alone.
      if (alone) domain.wipe(spare === undefined ? LEFT_BYTES : memory);
      else domain.memory.write(BigInt(LOAD_ADDRESS), new Uint8Array(NOTHING.length));
      if (alone && spare === undefined) trim(domain.domain.id, memory);
      if (spare === undefined) domain.vcpus[0].setRegisters(powerOn());
      if (alone) domain.startOver(spare?.pristine);
    }
    return domain;
  } catch (error) {
    if (domain === undefined) destroy(name);
    else domain.close();
    throw error;
  } finally {
    letGo();
  }
}

/** Destroys the domains that are kept for the next guests. */
export function clearSpares(): void {
  spares.clear();
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
  using store = new XenStore(() => storeInDomain(control));
  const path = terminalPath(findDomain(control, store, name));
  const end = performance.now() + CONSOLE_MS;
  while (!store.read(path) && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
