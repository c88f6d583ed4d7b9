import type { Command } from "../command.ts";

const group = "breakpoints";
const needsGuest = true;
/** What `catch` stops at. */
const CATCHES = [
  "port",
  "mmio",
  "msr",
  "cr0",
  "cr3",
  "cr4",
  "xcr0",
  "cpuid",
  "idtr",
  "gdtr",
  "ldtr",
  "tr",
  "request",
];

const LOCATION_DETAILS =
  "A location is an address as `help print` tells: 0x7c00, *0x7c00, f000:fff0, kernel_main+4, phys(0x1000).\n" +
  "CONDITION is an expression ($rax == 5 && {u8}0x46c > 2) or TypeScript: (hit) => hit.registers.rax === 5n.\n" +
  "break/s takes a patch in the guest's code, break/h a debug register; else the means that disturbs least.";

/** Rows of the commands about breakpoints. Implementations are loaded when they are called. */
export const BREAKPOINTS: readonly Command[] = [
  {
    names: ["break", "b", "br"],
    group,
    summary: "stops the guest before an instruction",
    usage: ["break", "break LOCATION [thread N] [cr3 EXPRESSION] [if CONDITION]"],
    details: LOCATION_DETAILS,
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./breakpoints.ts")).breakAt(s, i),
  },
  {
    names: ["tbreak", "tb"],
    group,
    summary: "as break, but once",
    usage: ["tbreak LOCATION [if CONDITION]"],
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./breakpoints.ts")).breakAt(s, i),
  },
  {
    names: ["hbreak", "hb"],
    group,
    summary: "as break, by a debug register",
    usage: ["hbreak LOCATION [if CONDITION]"],
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./breakpoints.ts")).breakAt(s, i),
  },
  {
    names: ["thbreak", "thb"],
    group,
    summary: "as hbreak, but once",
    usage: ["thbreak LOCATION [if CONDITION]"],
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./breakpoints.ts")).breakAt(s, i),
  },
  {
    names: ["watch", "wa"],
    group,
    summary: "stops the guest after a write to memory",
    usage: ["watch [-l] EXPRESSION [if CONDITION]", "watch/8 ADDRESS"],
    details:
      "The expression is memory, *(u32*)0x1000 or {u16}0x46c, or an address. Sizes: /1 /2 /4 /8 or the type's.",
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./watchpoints.ts")).watch(s, i),
  },
  {
    names: ["rwatch", "rw"],
    group,
    summary: "stops the guest after a read of memory",
    usage: ["rwatch [-l] EXPRESSION [if CONDITION]"],
    details: "x86 traps reads only together with writes: an access that changed the bytes is passed over.",
    needsGuest,
    run: async (s, i) => (await import("./watchpoints.ts")).watch(s, i),
  },
  {
    names: ["awatch", "aw"],
    group,
    summary: "stops the guest after a read or write of memory",
    usage: ["awatch [-l] EXPRESSION [if CONDITION]"],
    needsGuest,
    run: async (s, i) => (await import("./watchpoints.ts")).watch(s, i),
  },
  {
    names: ["catch"],
    group,
    summary: "stops the guest after an access to a port, to MMIO or to an MSR, and at what Xen reports",
    usage: [
      "catch port|mmio|msr START[-END|+LENGTH] [read|write] [if CONDITION]",
      "catch cr0|cr3|cr4|xcr0 [if CONDITION]",
      "catch cpuid [LEAF[-END|+LENGTH]] [if CONDITION]",
      "catch idtr|gdtr|ldtr|tr [read|write] [if CONDITION]",
      "catch request",
    ],
    details:
      "A condition may also use $value, $address and $write, and $old where the value before is told:\n  catch port 0x3f8 write if $value == 0x41\n  catch msr efer\n  catch cr0 if ($value ^ $old) & 0x80000000\nWhat is no access is reported by Xen, of PVH and HVM guests: of MSRs their writes, of control registers what changes them.",
    needsGuest,
    complete: () => CATCHES,
    run: async (s, i) => (await import("./catch.ts")).catchAccess(s, i),
  },
  {
    names: ["tcatch"],
    group,
    summary: "as catch, but once",
    usage: ["tcatch port|mmio|msr START [read|write] [if CONDITION]", "tcatch cr3 [if CONDITION]"],
    needsGuest,
    complete: () => CATCHES,
    run: async (s, i) => (await import("./catch.ts")).catchAccess(s, i),
  },
  {
    names: ["delete", "d"],
    group,
    summary: "removes breakpoints, all if none is named",
    usage: ["delete", "delete N ...", "delete N-M", "delete display N"],
    needsGuest,
    complete: async (s) => (await import("./complete.ts")).breakpointIds(s),
    run: async (s, i) => {
      if (i.words[0] === "display") return (await import("./display.ts")).undisplay(s, i.words.slice(1));
      return (await import("./breakpoints.ts")).remove(s, i);
    },
  },
  {
    names: ["clear", "cl"],
    group,
    summary: "removes the breakpoints at a location",
    usage: ["clear", "clear LOCATION"],
    needsGuest,
    run: async (s, i) => (await import("./breakpoints.ts")).remove(s, i),
  },
  {
    names: ["enable", "en"],
    group,
    summary: "switches breakpoints on, all if none is named",
    usage: ["enable", "enable N ...", "enable once|delete N ...", "enable count COUNT N ..."],
    details: "once switches it off again at its next stop, count at the COUNTth; delete removes it there.",
    needsGuest,
    complete: async (s) => (await import("./complete.ts")).breakpointIds(s),
    run: async (s, i) => (await import("./breakpoints.ts")).enable(s, i),
  },
  {
    names: ["disable", "dis"],
    group,
    summary: "switches breakpoints off, all if none is named; they keep their numbers and counts",
    usage: ["disable", "disable N ..."],
    needsGuest,
    complete: async (s) => (await import("./complete.ts")).breakpointIds(s),
    run: async (s, i) => (await import("./breakpoints.ts")).enable(s, i),
  },
  {
    names: ["save"],
    group,
    summary: "saves all breakpoints as commands in a file, for source",
    usage: ["save breakpoints FILE"],
    needsGuest,
    complete: async (_, { words }) => (await import("./files.ts")).completePath(words.at(-1) ?? ""),
    run: async (s, i) => (await import("./save_breakpoints.ts")).saveBreakpoints(s, i),
  },
  {
    names: ["condition"],
    group,
    summary: "gives a breakpoint a condition, or takes it away",
    usage: ["condition N EXPRESSION", "condition N (hit) => ...", "condition N"],
    details: LOCATION_DETAILS,
    needsGuest,
    complete: async (s) => (await import("./complete.ts")).breakpointIds(s),
    run: async (s, i) => (await import("./breakpoints.ts")).condition(s, i),
  },
  {
    names: ["ignore"],
    group,
    summary: "lets a breakpoint be passed a number of times",
    usage: ["ignore N COUNT"],
    needsGuest,
    complete: async (s) => (await import("./complete.ts")).breakpointIds(s),
    run: async (s, i) => (await import("./breakpoints.ts")).ignore(s, i),
  },
  {
    names: ["commands"],
    group,
    summary: "lines to run when a breakpoint stops the guest",
    usage: ["commands N {LINE; LINE}", "commands N {}", "commands [N]"],
    details:
      "Without braces the lines follow, up to one that says `end`. `silent` first: the stop is not shown.",
    block: true,
    needsGuest,
    complete: async (s) => (await import("./complete.ts")).breakpointIds(s),
    run: async (s, i) => (await import("./breakpoints.ts")).commands(s, i),
  },
];
