/** A process with one guest, which it boots; it prints the bytes that it has beside the guest's memory. */
import { linux, MiB, open, virtioDisk, virtioRng } from "../../mod.ts";

/** The guest's memory in bytes, its processors, and what it prints when it is up. */
export const MEMORY: number = MiB(256);
export const CPUS = 2;
export const FIRST_LINE = "hvsh-bench: up";
export const CMDLINE = "console=ttyS0 quiet panic=-1";
/** What a boot may take in a lab on a busy machine: what takes longer hangs. */
export const LIMIT_MS = 600_000;

/** What is booted. */
export interface Booted {
  readonly kernel: string;
  readonly initrd: string;
}

/**
 * The resident bytes of a process without those of its guest's memory: the mapping that is as large, or hardly
 * larger, as the kernel may join it with a neighbour.
 */
export function besideGuest(pid: number | "self", memory: number): number {
  let all = 0;
  let guest = 0;
  let size = 0;
  for (const line of Deno.readTextFileSync(`/proc/${pid}/smaps`).split("\n")) {
    const [, name, kilobytes] = /^(Size|Rss):\s+(\d+) kB$/.exec(line) ?? [];
    if (name === "Size") size = Number(kilobytes) * 1024;
    if (name !== "Rss") continue;
    const bytes = Number(kilobytes) * 1024;
    all += bytes;
    if (size >= memory && size <= memory + MiB(16)) guest = Math.max(guest, bytes);
  }
  return all - guest;
}

if (import.meta.main) {
  const { kernel, initrd } = JSON.parse(Deno.args[0]) as Booted;
  await using vm = await open({
    backend: "kvm",
    memory: MEMORY,
    cpus: CPUS,
    boot: linux({ kernel, initrd, cmdline: CMDLINE }),
    devices: [virtioDisk(new Uint8Array(MiB(1))), virtioRng()],
  });
  const running = vm.continue({ timeoutMs: LIMIT_MS });
  await vm.console.expect(FIRST_LINE, { timeoutMs: LIMIT_MS });
  console.log(besideGuest("self", MEMORY));
  await vm.pause();
  await running;
}
