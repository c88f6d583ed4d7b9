/** info: one word chooses what is shown. */
import { InputError } from "../../dsl/nouns.ts";
import type { Answer, Invocation } from "../command.ts";
import { refuseMore } from "../command.ts";
import { nearest } from "../nearest.ts";
import type { Session } from "../session.ts";
import { elsewhere } from "./info_elsewhere.ts";

type Show = (session: Session, rest: string, words: readonly string[]) => Promise<Answer> | Answer;

/** What `info` knows: names (any unambiguous prefix works), a line for its list, and what shows it. */
export const TOPICS: readonly { names: readonly string[]; summary: string; show: Show }[] = [
  {
    names: ["breakpoints", "b"],
    summary: "breakpoints, watchpoints and catchpoints",
    show: async (s, _, words) => (await import("./breakpoints.ts")).infoBreakpoints(s, words),
  },
  {
    names: ["watchpoints"],
    summary: "watchpoints alone",
    show: async (s, _, words) => (await import("./breakpoints.ts")).infoWatchpoints(s, words),
  },
  {
    names: ["registers", "r"],
    summary: "registers: all of the general ones, or those named",
    show: async (s, _, words) => (await import("./registers.ts")).infoRegisters(s, words),
  },
  {
    names: ["all-registers"],
    summary: "every register there is",
    show: async (s) => (await import("./registers.ts")).infoRegisters(s, ["all"]),
  },
  {
    names: ["float"],
    summary: "x87 registers",
    show: async (s) => (await import("./registers.ts")).regs(s, ["fpu"]),
  },
  {
    names: ["vector"],
    summary: "SSE and AVX registers",
    show: async (s) => (await import("./registers.ts")).regs(s, ["vector"]),
  },
  {
    names: ["frame", "f"],
    summary: "the selected frame",
    show: async (s) => (await import("./frames.ts")).infoFrame(s),
  },
  {
    names: ["stack", "s"],
    summary: "the backtrace",
    show: async (s, rest) => (await import("./frames.ts")).backtrace(s, rest),
  },
  {
    names: ["display"],
    summary: "expressions shown at each stop",
    show: async (s) => (await import("./display.ts")).infoDisplay(s),
  },
  {
    names: ["symbol"],
    summary: "the symbol at an address",
    show: async (s, rest) => (await import("./symbols.ts")).infoSymbol(s, rest),
  },
  {
    names: ["symbols"],
    summary: "symbols whose name contains a text",
    show: async (s, rest) => (await import("./symbols.ts")).infoSymbols(s, rest),
  },
  {
    names: ["functions"],
    summary: "functions, and labels, which may be either",
    show: async (s, rest) => (await import("./symbols.ts")).infoSymbols(s, rest, "function"),
  },
  {
    names: ["variables"],
    summary: "variables, and labels, which may be either",
    show: async (s, rest) => (await import("./symbols.ts")).infoSymbols(s, rest, "object"),
  },
  {
    names: ["address"],
    summary: "where a symbol is",
    show: async (s, rest) => (await import("./symbols.ts")).infoAddress(s, rest),
  },
  {
    names: ["line"],
    summary: "the source line at an address",
    show: async (s, rest) => (await import("./symbols.ts")).infoLine(s, rest),
  },
  {
    names: ["threads", "vcpus", "cpus"],
    summary: "vCPUs and where they are",
    show: async (s) => (await import("./cpu.ts")).infoVcpus(s),
  },
  {
    names: ["mem"],
    summary: "linear ranges with their rights",
    show: async (s, rest) => (await import("./paging.ts")).listMappings(s, rest, false),
  },
  {
    names: ["tlb"],
    summary: "linear pages and where they lie",
    show: async (s, rest) => (await import("./paging.ts")).listMappings(s, rest, true),
  },
  {
    names: ["mtree", "roms", "ramblock", "files", "target"],
    summary: "guest-physical memory and MMIO",
    show: async (s) => (await import("./guest.ts")).infoMemoryTree(s),
  },
  {
    names: ["devices", "qtree"],
    summary: "devices and their ranges",
    show: async (s) => (await import("./devices.ts")).deviceList(s),
  },
  {
    names: ["lapic"],
    summary: "the local APIC's registers",
    show: async (s) => (await import("./cpu.ts")).lapic(s),
  },
  {
    names: ["events"],
    summary: "pending exceptions, interrupts, NMIs",
    show: async (s) => (await import("./cpu.ts")).infoEvents(s),
  },
  {
    names: ["msr"],
    summary: "model-specific registers",
    show: async (s, rest) => (await import("./cpu.ts")).msr(s, rest),
  },
  {
    names: ["exits"],
    summary: "how often the guest was left, and for what",
    show: async (s) => (await import("./trace.ts")).exits(s, []),
  },
  {
    names: ["console"],
    summary: "what the guest printed last",
    show: async (s, rest) => (await import("./console.ts")).infoConsole(s, rest),
  },
  {
    names: ["status", "program", "name", "kvm"],
    summary: "whether the guest runs",
    show: async (s) => (await import("./guest.ts")).infoStatus(s),
  },
  {
    names: ["capabilities"],
    summary: "what this backend can do here",
    show: async (s, rest) => (await import("./guest.ts")).capabilities(s, rest),
  },
  {
    names: ["hosts"],
    summary: "hypervisors on this host",
    show: async (s) => (await import("./guest.ts")).listHosts(s),
  },
  {
    names: ["drives", "block"],
    summary: "drives and what is in them",
    show: async (s) => (await import("./guest.ts")).infoDrives(s),
  },
  {
    names: ["locals", "args", "source", "sources", "scope", "types", "macro"],
    summary: "nothing: source lines and types are not read",
    show: async () => (await import("./source.ts")).noSource(),
  },
  {
    names: ["version"],
    summary: "this program's version, and what it runs on",
    show: async () => {
      const text = await (await import("../usage.ts")).versionText();
      return { text, data: text.trim() };
    },
  },
  {
    names: ["signals"],
    summary: "nothing: guests have no signals",
    show: async () => (await import("./guest.ts")).infoSignals(),
  },
];

/** `info TOPIC [ARGUMENTS]`. */
export async function info(session: Session, invocation: Invocation): Promise<Answer> {
  const { rest, words, format } = invocation;
  // QEMU's `i/b PORT`.
  if (format !== "") return await (await import("./ports.ts")).portIn(session, invocation);
  const [, word, after] = /^(\S*)\s*([^]*)$/.exec(rest) ?? ["", "", ""];
  if (word === "") return list();
  const exact = TOPICS.find((t) => t.names.includes(word));
  const near = TOPICS.filter((t) => t.names.some((n) => n.startsWith(word)));
  // `sym` begins symbols too, but means what it begins first of all.
  const [shortest] = near.map((t) => t.names[0]).sort((a, b) => a.length - b.length);
  const inAll = near.every((t) => t.names[0].startsWith(shortest));
  const topic = exact ?? (inAll ? near.find((t) => t.names[0] === shortest) : undefined);
  if (topic !== undefined) {
    // Those that look at nothing behind their name take nothing there.
    if (topic.show.length === 1) refuseMore(`info ${topic.names[0]}`, after);
    return await topic.show(session, after, words.slice(1));
  }
  if (near.length > 1) {
    throw new InputError(`"info ${word}" may be ${near.map((t) => t.names[0]).join(", ")}`, {
      remedy: "write more of it",
    });
  }
  // As QEMU's `info pic`.
  if (session.vm?.devices.get(word) !== undefined) {
    return (await import("./devices.ts")).deviceShow(session, word);
  }
  const instead = elsewhere(word);
  if (instead !== undefined) return { text: `${instead}\n`, data: [] };
  const meant = nearest(word, TOPICS.flatMap((t) => t.names));
  throw new InputError(`"info ${word}" is not known`, {
    remedy: meant === undefined
      ? `topics: ${TOPICS.map((t) => t.names[0]).join(", ")}, and devices by their names`
      : `Did you mean \`info ${meant}\`? \`info\` lists the topics`,
  });
}

function list(): Answer {
  const lines = TOPICS.map((t) => `info ${t.names[0].padEnd(15)} ${t.summary}\n`);
  return { text: lines.join(""), data: TOPICS.map((t) => t.names[0]) };
}
