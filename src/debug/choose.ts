import type { Backend, HardwareTrap } from "../vm/backend.ts";
import type { BreakpointOptions } from "../vm/breakpoint.ts";
import { can, type Capability } from "../vm/capabilities.ts";
import { InputError, UnsupportedError } from "../vm/errors.ts";
import type { Registers } from "../vm/registers.ts";
import { cpl, cpuMode, linearRip } from "../x86/mode.ts";
import { walk } from "../x86/paging.ts";
import type { ReadPhysical } from "../x86/paging.ts";
import { faultOf } from "../x86/paging.ts";
import type { Place } from "./breakpoint.ts";
import { HLT, type PatchKind } from "./patches.ts";
import type { Slots } from "./slots.ts";

/** What `choose` settled on: the data the means are made of. */
export type Choice =
  | { readonly how: "hardware"; readonly trap: HardwareTrap }
  | { readonly how: PatchKind; readonly gpa: bigint }
  | { readonly how: "remote"; readonly address: bigint }
  | { readonly how: "page"; readonly gpa: bigint }
  | { readonly how: "step" };

/** What a choice depends on. */
export interface Situation {
  readonly backend: Backend;
  readonly slots: Slots;
  /** Of the vCPU through whose paging the address is meant. */
  readonly registers: Registers;
  readonly read: ReadPhysical;
}

const SIZES: readonly bigint[] = [1n, 2n, 4n, 8n];

/**
 * Picks the means for a breakpoint: with "auto" the one that disturbs the guest least and works here.
 *
 * @throws {UnsupportedError} If none works; the reason names each that was looked at.
 * @throws {FaultError} If the address has to be translated and is not mapped.
 * @throws {InputError} If size and address don't go together.
 */
export async function choose(
  place: Place,
  kind: NonNullable<BreakpointOptions["kind"]>,
  situation: Situation,
): Promise<Choice> {
  if (!SIZES.includes(place.size)) {
    throw new InputError(`a breakpoint covers 1, 2, 4 or 8 bytes, not ${place.size}`, {
      remedy: "set several breakpoints beside each other",
    });
  }
  const reasons: string[] = [];
  if (kind !== "software") {
    const reason = whyNoHardware(place, situation);
    if (reason === undefined) {
      const { access } = place;
      const size = Number(place.size) as HardwareTrap["size"];
      return { how: "hardware", trap: { address: BigInt.asUintN(64, place.address), access, size } };
    }
    reasons.push(`hardware: ${reason}`);
  }
  if (kind !== "hardware") {
    const software = place.access === "execute" ? patchFor : watchFor;
    const choice = await software(place, situation, reasons);
    if (choice !== undefined) return choice;
  }
  throw new UnsupportedError(
    place.access === "execute" ? "this breakpoint" : "this watchpoint",
    reasons.join("; "),
    { remedy: "see `info capabilities` for what works on this host" },
  );
}

function whyNoHardware(place: Place, { backend, slots }: Situation): string | undefined {
  const name = place.access === "execute" ? "breakpoint-hardware" : "watchpoint-hardware";
  if (!can(backend.capabilities, name)) {
    return backend.capabilities.get(name)?.reason ?? `${name} is not offered`;
  }
  if (place.space !== "gva") return "debug registers compare linear addresses, not physical ones";
  if (slots.free === 0) return "all four debug registers are in use";
  if (place.access !== "execute" && BigInt.asUintN(64, place.address) % place.size !== 0n) {
    return `the address is not aligned to ${place.size} bytes`;
  }
  return undefined;
}

/** What is known of a capability in the mode the vCPU is in: "NAME-real" and "NAME-user" where they are told apart. */
function here(name: string, { backend, registers }: Situation): Capability | undefined {
  const suffix = cpuMode(registers) === "real" ? "-real" : cpl(registers) === 3 ? "-user" : "";
  return backend.capabilities.get(name + suffix) ?? backend.capabilities.get(name);
}

async function patchFor(place: Place, situation: Situation, reasons: string[]): Promise<Choice | undefined> {
  const { backend, registers, read } = situation;
  const address = BigInt.asUintN(64, place.address);
  let gpa = address;
  let user = false;
  if (place.space === "gva") {
    const found = await walk(registers, address, read);
    if (!found.ok) throw faultOf(found);
    gpa = found.gpa;
    user = found.steps.length > 0 && found.user && await aside(registers, read);
  }
  if (backend.breakpoints !== undefined) {
    if (place.space === "gva") return { how: "remote", address };
    reasons.push("the stub's breakpoints are at linear addresses, not physical ones");
  }
  const int3 = here("breakpoint-int3", situation);
  if (int3?.usable) return { how: "int3", gpa };
  reasons.push(`INT3: ${int3?.reason ?? "not reported by this backend"}`);
  if (user) {
    reasons.push("HLT and OUT: it is user code, and at CPL 3 both raise #GP instead");
    return undefined;
  }
  for (const how of ["hlt", "out"] as const) {
    if (how === "hlt" && backend.interrupts?.irqchip) {
      // KVM api.rst, KVM_EXIT_HLT: not with KVM_CREATE_IRQCHIP.
      reasons.push("HLT: with interrupt controllers in the hypervisor it sleeps there and is not reported");
      continue;
    }
    if (!can(backend.capabilities, `breakpoint-${how}`)) {
      reasons.push(
        `${how.toUpperCase()}: ${backend.capabilities.get(`breakpoint-${how}`)?.reason ?? "not offered"}`,
      );
      continue;
    }
    if (how === "hlt" || !await standsAtHlt(gpa, read)) return { how, gpa };
    reasons.push("OUT: interrupts return behind the HLT there, which is in the middle of it");
    // As a last resort, since programs that wait for interrupts return to their HLT: `finish` ends there.
    if (can(backend.capabilities, "single-step")) return { how: "step" };
  }
  // The other side of a protocol knows linear addresses alone: where RIP is physically is looked at after each step.
  if (place.space === "gpa" && can(backend.capabilities, "single-step")) return { how: "step" };
  return undefined;
}

/**
 * Whether user pages hold programs alone: at CPL 3, and in a kernel that runs in supervisor pages. One that gives all
 * of its pages to users runs in user pages itself.
 */
async function aside(registers: Registers, read: ReadPhysical): Promise<boolean> {
  if (cpl(registers) === 3) return true;
  const here = await walk(registers, linearRip(registers), read);
  return here.ok && here.steps.length > 0 && !here.user;
}

async function standsAtHlt(gpa: bigint, read: ReadPhysical): Promise<boolean> {
  const code = new Uint8Array(1);
  await read(gpa, code);
  return code[0] === HLT;
}

async function watchFor(place: Place, situation: Situation, reasons: string[]): Promise<Choice | undefined> {
  const { backend, registers, read } = situation;
  if (place.access === "access") {
    reasons.push("read-only page: reads don't leave the guest");
  } else if (!can(backend.capabilities, "watchpoint-page")) {
    reasons.push(`read-only page: ${backend.capabilities.get("watchpoint-page")?.reason ?? "not offered"}`);
  } else if (place.space === "gpa") {
    return { how: "page", gpa: BigInt.asUintN(64, place.address) };
  } else {
    const found = await walk(registers, BigInt.asUintN(64, place.address), read);
    if (!found.ok) throw faultOf(found);
    return { how: "page", gpa: found.gpa };
  }
  if (place.space === "gpa") {
    reasons.push("stepping: looks at linear addresses, not physical ones");
  } else if (can(backend.capabilities, "single-step")) {
    return { how: "step" };
  } else {
    reasons.push(`stepping: ${backend.capabilities.get("single-step")?.reason ?? "not offered"}`);
  }
  return undefined;
}
