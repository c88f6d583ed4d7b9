import type { Command } from "../command.ts";

const group = "data";
const needsGuest = true;

const FORMATS =
  "Formats: x hex, d signed, u unsigned, o octal, t binary, a address, c character, f float, z hex with zeros, " +
  "s string, i instruction.\nSizes: b 1, h 2, w 4, g 8 bytes.";

/** Rows of the commands that show and change data. Implementations are loaded when they are called. */
export const DATA: readonly Command[] = [
  {
    names: ["x"],
    group,
    summary: "shows memory at a linear address",
    usage: ["x/FORMAT ADDRESS", "x"],
    details:
      `FORMAT is a count, a letter and a size: x/16xb $rip, x/4i kernel_main, x/s 0x1000, x/-3i $pc.\n${FORMATS}\n` +
      "Alone it goes on where the last one ended. phys(ADDRESS) is guest-physical.",
    needsGuest,
    repeats: "bare",
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./examine.ts")).examine(s, i),
  },
  {
    names: ["xp"],
    group,
    summary: "shows memory at a guest-physical address",
    usage: ["xp/FORMAT ADDRESS"],
    details: `Where a device is, it answers as it does to the guest, side effects included.\n${FORMATS}`,
    needsGuest,
    repeats: "bare",
    run: async (s, i) => (await import("./examine.ts")).examine(s, i),
  },
  {
    names: ["printf"],
    group,
    summary: "prints values as C's printf does",
    usage: ['printf "FORMAT", EXPRESSION, ...'],
    details: 'printf "rax %#lx, at %s\\n", $rax, &message. Conversions: %d %i %u %x %X %o %c %s %p %%.',
    needsGuest: false,
    run: async (s, i) => (await import("./text.ts")).printf(s, i),
  },
  {
    names: ["echo"],
    group,
    summary: "prints text, with C's escapes and without a newline of its own",
    usage: ["echo TEXT"],
    needsGuest: false,
    run: async (s, i) => (await import("./text.ts")).echo(s, i),
  },
  {
    names: ["hexdump", "hd"],
    group,
    summary: "shows memory as rows of bytes with their characters",
    usage: ["hexdump ADDRESS", "hexdump ADDRESS, LENGTH"],
    needsGuest,
    repeats: "bare",
    run: async (s, { rest }) => (await import("./dump_view.ts")).dumpView(s, rest),
  },
  {
    names: ["print", "p", "inspect", "call"],
    group,
    summary: "works out an expression and shows it",
    usage: ["print/FORMAT EXPRESSION", "print EXPRESSION", "print $rax = 5"],
    details:
      "Registers: $rax $eax $al $pc $cs_base $cr3 $xmm0 $cpl. Memory: *$rsp, {u16}0x46c, *(u32*)ADDRESS.\n" +
      "Addresses: kernel_main+0x10, f000:fff0, $es:$di, phys(0x1000); of a PV guest mfn(FRAME). Others: msr(0x10), $1, $mine.\n" +
      "$rip (or $pc) is the offset in CS that the processor has, $rsp and $rbp those in SS. Where an address is\n" +
      "wanted (x, break) they are taken through their segments; where that makes a difference print shows both,\n" +
      "and linear($rip) is the address as a number.\n" +
      `Numbers: 0x1f, 31, 1fh, 0b11111, 64K. Operators and precedence of C.\n${FORMATS}`,
    needsGuest: false,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./print.ts")).print(s, i),
  },
  {
    names: ["output"],
    group,
    summary: "as print, without a number in the history",
    usage: ["output/FORMAT EXPRESSION"],
    needsGuest: false,
    run: async (s, i) => (await import("./print.ts")).print(s, i),
  },
  {
    names: ["set"],
    group,
    summary: "changes a register, memory, an MSR, a variable or a setting",
    usage: [
      "set $REGISTER = EXPRESSION",
      "set {TYPE}ADDRESS = EXPRESSION",
      "set msr(N) = EXPRESSION",
      "set $NAME = EXPRESSION",
      "set NAME VALUE",
    ],
    details:
      "set $al = 1, set *(u32*)0x1000 = 5, set var $mine = 7, set context off. show lists the settings.\n" +
      "In real mode, setting a segment register sets its base too.",
    needsGuest: false,
    complete: async () => (await import("./settings.ts")).SETTINGS.map((s) => s.name),
    run: async (s, i) => (await import("./assign.ts")).set(s, i),
  },
  {
    names: ["show"],
    group: "shell",
    summary: "shows settings, printed values or variables",
    usage: ["show", "show NAME", "show values", "show convenience"],
    needsGuest: false,
    complete:
      async () => ["values", "convenience", ...(await import("./settings.ts")).SETTINGS.map((s) => s.name)],
    run: async (s, { words }) => (await import("./settings.ts")).show(s, words),
  },
  {
    names: ["display"],
    group,
    summary: "shows an expression at each stop",
    usage: ["display/FORMAT EXPRESSION", "display"],
    needsGuest: false,
    run: async (s, i) => (await import("./display.ts")).display(s, i),
  },
  {
    names: ["undisplay"],
    group,
    summary: "ends displays, all if none is named",
    usage: ["undisplay", "undisplay N ..."],
    needsGuest: false,
    run: async (s, { words }) => (await import("./display.ts")).undisplay(s, words),
  },
  {
    names: ["disassemble", "disas"],
    group,
    summary: "shows instructions: of the function at an address, or of a range",
    usage: [
      "disassemble/FORMAT",
      "disassemble ADDRESS",
      "disassemble START, END",
      "disassemble START, +LENGTH",
    ],
    details: "disassemble/r shows the bytes too; disassemble/20 shows twenty instructions.",
    needsGuest,
    complete: async (s, i) => (await import("./complete.ts")).locations(s, i),
    run: async (s, i) => (await import("./disassemble.ts")).disassemble(s, i),
  },
  {
    names: ["backtrace", "bt", "where"],
    group,
    summary: "shows who called whom",
    usage: ["backtrace", "backtrace N", "backtrace -N"],
    needsGuest,
    run: async (s, { rest }) => (await import("./frames.ts")).backtrace(s, rest),
  },
  {
    names: ["frame", "f"],
    group,
    summary: "shows or chooses the frame that $rip, $rsp and $rbp are of",
    usage: ["frame", "frame N"],
    needsGuest,
    run: async (s, { rest }) => (await import("./frames.ts")).select(s, "frame", rest),
  },
  {
    names: ["up"],
    group,
    summary: "chooses the caller's frame",
    usage: ["up", "up N"],
    needsGuest,
    repeats: true,
    run: async (s, { rest }) => (await import("./frames.ts")).select(s, "up", rest),
  },
  {
    names: ["down", "dow"],
    group,
    summary: "chooses the called frame",
    usage: ["down", "down N"],
    needsGuest,
    repeats: true,
    run: async (s, { rest }) => (await import("./frames.ts")).select(s, "down", rest),
  },
  {
    names: ["stack"],
    group,
    summary: "shows the stack's words and what they point to",
    usage: ["stack", "stack COUNT"],
    needsGuest,
    run: async (s, { rest }) => (await import("./stack.ts")).stack(s, rest),
  },
  {
    names: ["telescope"],
    group,
    summary: "shows words at an address and what they point to",
    usage: ["telescope ADDRESS", "telescope ADDRESS, COUNT"],
    needsGuest,
    run: async (s, { rest }) => (await import("./stack.ts")).telescope(s, rest),
  },
  {
    names: ["context", "ctx"],
    group,
    summary: "shows registers, code, stack and backtrace; switches that on or off at stops",
    usage: ["context", "context on", "context off"],
    needsGuest: false,
    complete: () => ["on", "off"],
    run: async (s, { rest }) => (await import("./context.ts")).context(s, rest),
  },
  {
    names: ["find"],
    group,
    summary: "looks for bytes or text in memory",
    usage: [
      'find "TEXT"',
      "find VALUE ...",
      "find/FORMAT START, +LENGTH, VALUE, ...",
      "find START, END, VALUE, ...",
    ],
    details:
      "Without a range it looks through guest-physical memory. find/2w: at most two, values of four bytes.\n" +
      "Without a size a number has as few bytes as hold it.",
    needsGuest,
    run: async (s, i) => (await import("./memory.ts")).find(s, i),
  },
  {
    names: ["fill"],
    group,
    summary: "fills memory with a pattern",
    usage: ["fill START, LENGTH, VALUE, ...", 'fill START, LENGTH, "TEXT"'],
    needsGuest,
    run: async (s, i) => (await import("./memory.ts")).fill(s, i),
  },
  {
    names: ["dump"],
    group,
    summary: "saves memory in a file",
    usage: ["dump FILE START, LENGTH", "dump memory FILE START END", "dump --elf FILE"],
    details: "--elf writes all of the guest with its registers, for crash(8) and gdb; docs/linux.md.",
    needsGuest,
    complete: async (_, { words }) => (await import("./files.ts")).completePath(words.at(-1) ?? ""),
    run: async (s, i) => (await import("./memory.ts")).dump(s, i),
  },
  {
    names: ["load", "restore"],
    group,
    summary: "loads a file into memory",
    usage: ["load FILE ADDRESS", "restore FILE binary ADDRESS"],
    needsGuest,
    complete: async (_, { words }) => (await import("./files.ts")).completePath(words.at(-1) ?? ""),
    run: async (s, i) => (await import("./memory.ts")).load(s, i),
  },
  {
    names: ["info", "i"],
    group,
    summary: "shows breakpoints, registers, frames, devices and much else",
    usage: ["info", "info TOPIC"],
    details: "info alone lists the topics.",
    needsGuest: false,
    complete: async () =>
      (await import("./info.ts")).TOPICS.flatMap((t) => t.names.filter((n) => n.length > 1)),
    run: async (s, i) => (await import("./info.ts")).info(s, i),
  },
  {
    names: ["symbol-file", "add-symbol-file", "file"],
    group,
    summary: "loads symbols from an ELF file or a System.map",
    usage: ["symbol-file FILE", "symbol-file FILE -o OFFSET", "add-symbol-file FILE ADDRESS_OF_TEXT"],
    needsGuest,
    complete: async (_, { words }) => (await import("./files.ts")).completePath(words.at(-1) ?? ""),
    run: async (s, i) => (await import("./symbols.ts")).symbolFile(s, i),
  },
];
