import { hosts, open } from "../mod.ts";
import type { ContractBackend, Mode } from "./backend_contract.ts";

const ALL_MODES: readonly Mode[] = ["real", "protected", "long"];

/** The fake, started in `mode`. */
function fake(mode: Mode): ContractBackend {
  return {
    name: "fake",
    place: "this host",
    mode,
    modes: ALL_MODES,
    open: (options) => open({ ...options, backend: "fake" }),
    skip: [],
  };
}

/** KVM, started in `mode`; `irqchip` false leaves interrupt controllers and timer out. */
function kvm(mode: Mode, place: string, irqchip?: boolean): ContractBackend {
  return {
    name: "kvm",
    place,
    mode,
    ...(irqchip === false && { variant: "no irqchip" }),
    modes: ALL_MODES,
    open: (options) => open({ ...(irqchip !== undefined && { irqchip }), ...options, backend: "kvm" }),
    skip: irqchip === false
      ? [{
        reason: "several vCPUs need interrupt controllers to start each other",
        tests: ["stops: two vCPUs are apart from each other"],
      }]
      : [],
  };
}

/** What this place is called in the table: the lab that the program runs in, if it does. */
export function placeName(): string {
  const lab = Deno.env.get("HVSH_LAB");
  return lab === undefined ? "this host" : `${lab} lab`;
}

/** The backends that can be put under the contract here; those that can't, with the reason. */
export async function contractBackends(
  place = placeName(),
): Promise<{ backends: ContractBackend[]; absent: { name: string; reason: string }[] }> {
  const backends = [fake("real"), fake("protected"), fake("long")];
  const absent: { name: string; reason: string }[] = [];
  const host = (await hosts()).find((h) => h.backend === "kvm");
  if (host?.usable) {
    backends.push(kvm("real", place), kvm("real", place, false), kvm("protected", place), kvm("long", place));
  } else absent.push({ name: "kvm", reason: host?.reason ?? "it is not known here" });
  return { backends, absent };
}
