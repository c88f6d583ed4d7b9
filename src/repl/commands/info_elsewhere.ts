/** Topics of gdb's and QEMU's `info` that hvsh has nothing of its own for: what there is instead. */

/** Each begins with the words that it answers to; the text is one sentence or two. */
const ELSEWHERE: readonly { names: readonly string[]; text: string }[] = [
  {
    names: ["pic", "ioapic"],
    text: "The interrupt controllers are in the hypervisor; info lapic shows the local APIC, and " +
      "open({ irqchip: false }) has controllers whose registers `device NAME` shows.",
  },
  {
    names: ["irq", "interrupts"],
    text:
      "Interrupts are not counted; `irq N` raises one, info lapic and info events show what is pending, " +
      "exits what the guest was left for.",
  },
  {
    names: ["network", "usernet", "usb", "mice"],
    text: "Guests have no such devices but those that were added; devices lists them, virtio shows virtio's.",
  },
  {
    names: ["chardev"],
    text: "The guest's first serial port and port 0xe9 are its console: console, serial and send are for it.",
  },
  {
    names: ["sharedlibrary", "dll", "proc", "auxv", "os"],
    text:
      "A virtual machine is no process of an operating system; linux, ps and lsmod look into a Linux guest.",
  },
  {
    names: ["inferiors", "checkpoints", "record", "snapshots"],
    text:
      "There is one guest at a time; one that QEMU replays (--replay) is gone back in by reverse-stepi and reverse-continue.",
  },
];

/** What `info WORD` answers, if the word is one of these or begins exactly one of them. */
export function elsewhere(word: string): string | undefined {
  const exact = ELSEWHERE.find(({ names }) => names.includes(word));
  const near = ELSEWHERE.filter(({ names }) => names.some((n) => word.length > 2 && n.startsWith(word)));
  return (exact ?? (near.length === 1 ? near[0] : undefined))?.text;
}
