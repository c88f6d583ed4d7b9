import "../src/host/preload.ts";
import { elf, hosts, open } from "../mod.ts";
import type { ContractBackend, Mode } from "./backend_contract.ts";
import { CODE } from "./contract/case.ts";

const ALL_MODES: readonly Mode[] = ["real", "protected", "long"];

/** What wants accesses of the guest to come to hvsh and be answered. */
const ANSWERED: readonly string[] = [
  "devices: *",
  "step: a step of an access lets the device answer, and stands behind it",
  "access breaks: on a port stop behind the access, which is done",
  "access breaks: of one direction let the other pass; ignore, once and conditions count",
  "access breaks: on MMIO stop behind the access",
  "close: with breakpoints and devices in takes them out",
];

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

/**
 * KVM with a second vCPU, which waits for SIPI: vCPUs have threads of their own, and whatever leaves the guest goes
 * another way.
 */
function kvmOfTwo(mode: Mode, place: string): ContractBackend {
  return {
    name: "kvm",
    place,
    mode,
    variant: "2 vCPUs",
    modes: ALL_MODES,
    open: (options) => open({ ...(options.irqchip !== false && { cpus: 2 }), ...options, backend: "kvm" }),
    skip: [{
      reason: "nothing runs in it, or one vCPU does all",
      tests: ["memory: *", "registers: *", "console: *", "errors: *"],
    }],
  };
}

/** QEMU translating instructions, started in `mode`. */
function qemu(mode: Mode, place: string): ContractBackend {
  return {
    name: "qemu",
    place,
    mode,
    modes: ALL_MODES,
    open: (options) => open({ ...options, backend: "qemu" }),
    skip: [
      {
        reason:
          "a guest in QEMU has QEMU's devices: accesses do not come to hvsh, and what is not there reads as 0",
        tests: [
          ...ANSWERED,
        ],
      },
      {
        reason: "QEMU's PC always has its interrupt controllers",
        tests: [
          "step: a pending interrupt waits while steps are done, unless it is let in",
          "stops: an interrupt wakes a halted guest",
        ],
      },
      {
        reason: "a vCPU that sleeps in HLT sleeps on in QEMU, wherever RIP is sent",
        tests: [
          "stops: a halted guest can be sent elsewhere",
          "breakpoints: leave the guest's own INT3 to the guest",
        ],
      },
      {
        reason: "QEMU tells of the debug-exit port a moment after the OUT: the stop is behind it",
        tests: ["stops: the debug-exit port gives its code"],
      },
      ...(mode === "real" ? [] : [{
        reason: "selectors into the LDT can't be loaded through QEMU's stub",
        tests: ["registers: setting some registers leaves the others"],
      }]),
      ...(mode === "long" ? [] : [{
        reason: "outside 64-bit mode QEMU's stub shows and takes 32 bits of a register",
        tests: [
          "registers: general registers keep all their bits",
          "registers: descriptor tables and control registers keep their values",
        ],
      }]),
    ],
  };
}

/** What clauses Xen's guests are let off, and why. */
const XEN_SKIPS = {
  "xen-pvh": [{
    reason: "a PVH domain has no device model, which firmware needs",
    tests: ["memory: ROM is read by the guest, written by the debugger alone"],
  }, {
    reason: "a PVH domain has local APICs and no 8259, and its first one is off at power-on",
    tests: ["stops: an interrupt wakes a halted guest"],
  }],
  "xen-hvm": [{
    reason: "an HVM domain has 10 MiB at least",
    tests: [
      "memory: an access that leaves memory fails as a whole and names the first byte that is not there",
      "memory: the regions are sorted, do not overlap, and are all the memory there is",
      "devices: answer at guest-physical addresses",
      "devices: get string instructions at guest-physical addresses element by element",
      "devices: reach guest memory and are told when they are taken out",
      "errors: say in a sentence what was wrong and what to do",
    ],
  }, {
    reason:
      "an HVM domain has QEMU's devices: what none of hvsh's devices has does not come to it, and a reset is xl's",
    tests: [
      "access breaks: of one direction let the other pass; ignore, once and conditions count",
      "access breaks: on MMIO stop behind the access",
      "devices: that nobody put there read as ones and swallow writes",
      "stops: the debug-exit port gives its code",
      "close: reset goes back to the start: registers and image",
      "close: breakpoints stay over a reset",
      "errors: in options and images are found at open",
    ],
  }, {
    reason:
      "the 8259 of an HVM domain are Xen's, and have no way to the vCPU before LINT0 of its LAPIC is one",
    tests: ["stops: an interrupt wakes a halted guest"],
  }, {
    reason:
      "Xen's hvmloader copies firmware into RAM at 0xf0000, which a guest may write, and starts it there",
    tests: ["memory: ROM is read by the guest, written by the debugger alone"],
  }],
} as const;

/** Xen's HVM and PVH guests, in `mode`. */
function xen(name: keyof typeof XEN_SKIPS, mode: Mode, place: string): ContractBackend {
  const start: ContractBackend["open"] = (options) => open({ ...options, backend: name });
  return { name, place, mode, modes: ALL_MODES, open: start, skip: XEN_SKIPS[name] };
}

const PV_KERNEL = new URL("../fixtures/pv_contract.bin", import.meta.url);
/** Labels of it. */
const [PV_PRINT, PV_ECHO] = [0x8_2000, 0x8_2100];

/** See docs/labs.md. */
const IN_XEN = {
  reason:
    "where a step touches what a debug register watches, QEMU raises a second #DB in Xen itself, for ever",
  tests: ["watchpoints: stop a step as well"],
};

/** Xen's PV guests: long mode at CPL 3, from a kernel that Xen's toolstack loads. */
async function xenPv(place: string): Promise<ContractBackend> {
  const kernel = await Deno.readFile(PV_KERNEL);
  return {
    name: "xen-pv",
    place,
    mode: "long",
    modes: ["long"],
    open: async (options) => {
      const vm = await open({ ...options, backend: "xen-pv" });
      const [vcpu] = vm.vcpus;
      if (options.boot !== undefined) await vcpu.setRegisters({ r14: (await vcpu.registers()).rsi });
      return vm;
    },
    boot: (code) => {
      const image = kernel.slice();
      // The segment for it lies at the same offset in the file as in memory.
      image.set(code, CODE);
      return elf(image);
    },
    end: "shutdown",
    serial: { print: jump(PV_PRINT), echo: jump(PV_ECHO) },
    skip: [
      ...(place === "xen lab" ? [IN_XEN] : []),
      {
        reason: "a PV guest has no ports, and no addresses that devices could answer at",
        tests: [
          ...ANSWERED,
          "stops: the debug-exit port gives its code",
          "stops: a reset by port 0x92 is a shutdown",
        ],
      },
      {
        reason:
          "descriptor tables, control registers and MSRs of a PV guest are Xen's, and set by hypercalls",
        tests: [
          "registers: segment registers keep selector, base, limit and attributes",
          "registers: descriptor tables and control registers keep their values",
          "registers: MSRs are listed, read and written; one that is not there is refused",
          "access breaks: on an MSR stop behind the access, and the MSR works",
          "stops: a triple fault is a shutdown",
          "stops: an instruction that can't be run is a fault at it, with its bytes; the guest can be sent past it",
        ],
      },
      {
        reason: "a PV guest waits by a hypercall: at CLI and HLT Xen ends it",
        tests: [
          "step: a step over HLT that nothing can wake is a halt",
          "stops: HLT that nothing can wake is a halt",
          "stops: a halted guest can be sent elsewhere",
          "stops: HLT that an interrupt may wake is none",
        ],
      },
      {
        reason: "a PV guest's other vCPUs have no state before it brings them up",
        tests: ["stops: two vCPUs are apart from each other"],
      },
      {
        reason:
          "a PV guest has 4 MiB at least, and Xen's toolstack loads it, which knows no flat() and no reset",
        tests: [
          "memory: an access that leaves memory fails as a whole and names the first byte that is not there",
          "memory: the regions are sorted, do not overlap, and are all the memory there is",
          "close: reset goes back to the start: registers and image",
          "close: breakpoints stay over a reset",
          "errors: say in a sentence what was wrong and what to do",
          "errors: in options and images are found at open",
        ],
      },
    ],
  };
}

/** JMP rel32 from a guest's first instruction. */
function jump(to: number): string {
  const bytes = new Uint8Array(new Int32Array([to - (CODE + 5)]).buffer);
  return `e9${bytes.toHex()}`;
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
  const list = await hosts();
  const host = list.find((h) => h.backend === "kvm");
  if (host?.usable) {
    backends.push(kvm("real", place), kvm("real", place, false), kvm("protected", place), kvm("long", place));
    backends.push(kvmOfTwo("long", place));
  } else absent.push({ name: "kvm", reason: host?.reason ?? "it is not known here" });
  const own = list.find((h) => h.backend === "qemu");
  if (own?.usable) backends.push(qemu("real", place), qemu("protected", place), qemu("long", place));
  else absent.push({ name: "qemu", reason: own?.reason ?? "it is not known here" });
  for (const name of ["xen-pvh", "xen-hvm"] as const) {
    const host = list.find((h) => h.backend === name);
    if (host?.usable) backends.push(...ALL_MODES.map((mode) => xen(name, mode, place)));
    else absent.push({ name, reason: host?.reason ?? "it is not known here" });
  }
  const pv = list.find((h) => h.backend === "xen-pv");
  if (pv?.usable) backends.push(await xenPv(place));
  else absent.push({ name: "xen-pv", reason: pv?.reason ?? "it is not known here" });
  return { backends, absent };
}
