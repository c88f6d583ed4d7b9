import type { Command } from "../command.ts";

const group = "guest";
const needsGuest = true;

/** Rows of the commands about Linux guests. Implementations are loaded when they are called. */
export const LINUX: readonly Command[] = [
  {
    names: ["linux"],
    group,
    summary: "finds a Linux kernel in guest memory: its version, place and symbols",
    usage: [
      "linux",
      "linux symbols FILE",
      "linux backtrace TASK",
      "linux memory PROCESS ADDRESS, LENGTH",
      "linux vmcoreinfo",
    ],
    details:
      "Nothing is asked of the guest. Its functions can then be named: break vfs_read, x/i do_exit, bt.\n" +
      "symbols adds those of a vmlinux or System.map, moved to where KASLR put the kernel. backtrace is of a task\n" +
      "that sleeps, memory is a process's. docs/linux.md says what is read and which kernels are understood.",
    needsGuest,
    complete: async (_, { words }) =>
      words.length > 1
        ? (await import("./files.ts")).completePath(words.at(-1) ?? "")
        : ["symbols", "backtrace", "memory", "vmcoreinfo"],
    run: async (s, { rest }) => (await import("./linux.ts")).linux(s, rest),
  },
  {
    names: ["dmesg"],
    group,
    summary: "shows a Linux guest's log, out of its memory",
    usage: ["dmesg", "dmesg COUNT"],
    details: "With COUNT, the newest so many records.",
    needsGuest,
    run: async (s, { rest }) => (await import("./linux.ts")).dmesg(s, rest),
  },
  {
    names: ["ps"],
    group,
    summary: "lists a Linux guest's processes",
    usage: ["ps", "ps threads", "ps PART"],
    details:
      "* is what a vCPU runs. States as in ps(1): R runs, S sleeps, D waits, I idles, T is stopped, Z is dead.",
    needsGuest,
    complete: () => ["threads"],
    run: async (s, { rest }) => (await import("./linux.ts")).ps(s, rest),
  },
  {
    names: ["lsmod"],
    group,
    summary: "lists a Linux guest's modules and where they lie",
    usage: ["lsmod"],
    needsGuest,
    run: async (s) => (await import("./linux.ts")).lsmod(s),
  },
];
