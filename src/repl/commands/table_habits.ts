import type { Command } from "../command.ts";

const needsGuest = true;

/** Rows for hands that know QEMU's monitor or pwndbg, and for commands of the user's own. */
export const HABITS: readonly Command[] = [
  {
    names: ["stop", "interrupt"],
    group: "running",
    summary: "pauses a guest that runs in the background",
    usage: ["stop"],
    needsGuest,
    run: async (s) => (await import("./running.ts")).stop(s),
  },
  {
    names: ["vmmap"],
    group: "x86",
    summary: "lists linear ranges with their rights, or the one that an address is in",
    usage: ["vmmap", "vmmap ADDRESS"],
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, { rest }) => (await import("./paging.ts")).mapOf(s, rest),
  },
  {
    names: ["gva2gpa"],
    group: "x86",
    summary: "tells the guest-physical address of a linear one, as QEMU's monitor",
    usage: ["gva2gpa ADDRESS"],
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, { rest }) => (await import("./paging.ts")).toPhysical(s, rest),
  },
  {
    names: ["gva2hva", "gpa2hva"],
    group: "x86",
    summary: "is QEMU's; hvsh gives no addresses of its own process",
    usage: ["gva2hva ADDRESS"],
    needsGuest: false,
    run: async () => (await import("./paging.ts")).toHost(),
  },
  {
    names: ["nearpc"],
    group: "data",
    summary: "shows the code around RIP, or around an address",
    usage: ["nearpc", "nearpc COUNT", "nearpc ADDRESS, COUNT"],
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, { rest }) => (await import("./nearpc.ts")).nearpc(s, rest),
  },
  {
    names: ["search"],
    group: "data",
    summary: "looks for text or numbers in memory, as pwndbg has it",
    usage: ["search TEXT", "search -t TYPE VALUE", "search -x HEX"],
    details:
      "Types: byte, short (word), dword (int), qword (long, pointer), string, bytes. All of guest-physical\n" +
      "memory is looked through; find takes a range.",
    needsGuest,
    run: async (s, i) => (await import("./memory.ts")).search(s, i),
  },
  {
    names: ["memsave", "pmemsave"],
    group: "data",
    summary: "saves linear (pmemsave: guest-physical) memory in a file, as QEMU's monitor",
    usage: ["memsave ADDRESS SIZE FILE", "pmemsave ADDRESS SIZE FILE"],
    needsGuest,
    run: async (s, i) => (await import("./memory.ts")).memsave(s, i),
  },
  {
    names: ["o"],
    group: "devices",
    summary: "writes a port, as QEMU's monitor; i/FORMAT PORT reads one",
    usage: ["o/FORMAT PORT VALUE"],
    details: "The size is b, w or l (1, 2, 4 bytes): o/b 0x80 0x55, i/w 0x1f0. out and in are the same.",
    needsGuest,
    run: async (s, i) => (await import("./ports.ts")).portOut(s, i),
  },
  {
    names: ["sendkey"],
    group: "devices",
    summary: "presses keys together, as QEMU's monitor",
    usage: ["sendkey KEY-KEY-..."],
    details: "sendkey ctrl-alt-delete, sendkey ret. keys types text too.",
    needsGuest,
    run: async (s, i) => (await import("./keys.ts")).sendkey(s, i),
  },
  {
    names: ["define"],
    group: "shell",
    summary: "makes a command of lines up to `end`",
    usage: ["define NAME", "define NAME {LINE; LINE}"],
    details: "$arg0, $arg1 ... are its arguments, $argc their number. A text for help: document NAME.\n" +
      "One that is named hook-stop runs at each stop.\n" +
      "  define show\n    p $arg0\n    x/2i $pc\n  end",
    needsGuest: false,
    block: true,
    run: async (s, i) => (await import("./define.ts")).define(s, i),
  },
  {
    names: ["document"],
    group: "shell",
    summary: "gives a command of one's own a text for help, of lines up to `end`",
    usage: ["document NAME", "document NAME {LINE; LINE}"],
    needsGuest: false,
    block: true,
    run: async (s, i) => (await import("./define.ts")).document(s, i),
  },
];
