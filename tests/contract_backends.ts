import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { domains, elf, hosts, type Machine, open } from "../mod.ts";
import type { ContractBackend, Mode } from "./backend_contract.ts";
import { CODE, type InterruptSource } from "./contract/case.ts";

const ALL_MODES: readonly Mode[] = ["real", "protected", "long"];
/** Where the first vCPU's local APIC has its registers, and takes messages. */
const LAPIC_BASE = 0xfee0_0000n;
/** IA32_FS_BASE. */
const FS_BASE = 0xc000_0100;

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
    // A guest in QEMU has QEMU's devices: accesses do not come to hvsh.
    lacks: ["devices"],
    foreign: true,
    skip: [
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

/** Real mode with DS at the local APIC, which is on then: SVR (SDM vol. 3A, 11.9). mov dword [0xf0], 0x1ff */
const LAPIC = { code: "66c706f000ff010000", registers: { ds_base: LAPIC_BASE } };

/** A message to the LAPIC, which is all that a PVH guest has. */
const MESSAGE: InterruptSource = {
  ...LAPIC,
  vector: 0x28,
  raise: (_, host) => host.message!(Number(LAPIC_BASE), 0x28),
};

/**
 * Line 5 of Xen's 8259 pair. mov dword [0x350], 0x700: LINT0 is its way in (ExtINT). Its vectors are from 8, and it lets
 * line 5 through. Xen forgets an edge whose line falls before a vCPU takes it.
 */
const LINE: InterruptSource = {
  code: `${LAPIC.code} 66c706500300070000 b011e620 b008e621 b004e621 b001e621 b0dfe621`,
  registers: LAPIC.registers,
  vector: 13,
  raise: (vm) => vm.interrupts.set(5, true),
};

/** Xen's PVH guests, in `mode`. */
function xenPvh(mode: Mode, place: string): ContractBackend {
  return {
    name: "xen-pvh",
    place,
    mode,
    modes: ALL_MODES,
    interrupt: MESSAGE,
    firmware: false,
    open: (options) => open({ ...options, backend: "xen-pvh" }),
    skip: [],
  };
}

/** Xen's HVM guests, in `mode`. */
function xenHvm(mode: Mode, place: string): ContractBackend {
  return {
    name: "xen-hvm",
    place,
    mode,
    modes: ALL_MODES,
    interrupt: LINE,
    // QEMU is their device model.
    foreign: true,
    hole: 0xd000_0000,
    ram: async (vm) => await ramOfDomain(vm) - TOOLSTACK_BYTES,
    lacks: ["reset"],
    open: (options) => open({ ...options, backend: "xen-hvm" }),
    skip: [{
      reason:
        "Xen's hvmloader copies firmware into RAM at 0xf0000, which a guest may write, and starts it there",
      tests: ["memory: ROM is read by the guest, written by the debugger alone"],
    }],
  };
}

/** Right below 0xff000000, and no RAM: 8 pages that the toolstack shares with a guest, 8 for ioreq servers (xg_dom_x86.c). */
const TOOLSTACK_BYTES = 16 * 4096;

/** What Xen counts of the one domain of ours. */
async function ramOfDomain({ backend }: Machine): Promise<number> {
  const ours = (await domains()).filter(({ name, kind }) =>
    name.startsWith(`hvsh-${Deno.pid}-`) && `xen-${kind}` === backend
  );
  assert.equal(ours.length, 1);
  return ours[0].memory;
}

const PV_KERNEL = new URL("../fixtures/pv_contract.bin", import.meta.url);
/** Labels of it. */
const PV_CODE = { print: jump(0x8_2000), echo: jump(0x8_2100), wait: jump(0x8_2200), reset: jump(0x8_2300) };

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
    code: PV_CODE,
    ram: ramOfDomain,
    // Behind the 4 MiB that a PV guest has at least.
    hole: 0x50_0000,
    msr: FS_BASE,
    // Segments' limits and attributes, descriptor tables and control registers are Xen's, and set by hypercalls.
    fixed: /^([gil]dtr|tr|cr\d)|_(limit|attributes)$/,
    unhandled: "crash",
    lacks: ["devices", "interrupts", "lapic", "reset"],
    foreign: true,
    skip: [
      ...(place === "xen lab" ? [IN_XEN] : []),
      {
        reason: "a PV guest waits by a hypercall: at CLI and HLT Xen ends it",
        tests: [
          "step: a step over HLT that nothing can wake is a halt",
          "stops: HLT that nothing can wake is a halt",
          "stops: a halted guest can be sent elsewhere",
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
  for (const [name, make] of [["xen-pvh", xenPvh], ["xen-hvm", xenHvm]] as const) {
    const host = list.find((h) => h.backend === name);
    if (host?.usable) backends.push(...ALL_MODES.map((mode) => make(mode, place)));
    else absent.push({ name, reason: host?.reason ?? "it is not known here" });
  }
  const pv = list.find((h) => h.backend === "xen-pv");
  if (pv?.usable) backends.push(await xenPv(place));
  else absent.push({ name: "xen-pv", reason: pv?.reason ?? "it is not known here" });
  return { backends, absent };
}
