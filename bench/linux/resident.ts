/** The memory of a hvsh process that runs Debian's kernel, beside what the guest itself has; and QEMU's. */
import { MiB } from "../../mod.ts";
import { guestInitramfs } from "../../tests/linux/initramfs.ts";
import { type Figure, type Measured, median, Obstacle } from "../figure.ts";
import { kernelHere, MICROVM, QemuGuest } from "./microvm.ts";
import { besideGuest, type Booted, CMDLINE, CPUS, FIRST_LINE, LIMIT_MS, MEMORY } from "./resident_guest.ts";

const PROGRAM = new URL("./resident_guest.ts", import.meta.url).pathname;
/** More would be minutes for a number that hardly moves. */
const MOST_ROUNDS = 5;

/** The figure: MiB, not a ratio. */
export const rss: Figure = {
  name: "rss",
  what:
    "MiB of a hvsh process with Debian's kernel on 2 vCPUs, beside the guest's own; QEMU's stand next to it",
  goal: 200,
  better: "lower",
  unit: "MiB",
  needs: ["kvm"],
  async measure({ rounds }): Promise<Measured> {
    const folder = await Deno.makeTempDir();
    try {
      const { image } = kernelHere();
      const initrd = `${folder}/initrd.gz`;
      const script = `echo "${FIRST_LINE}"\nexec sleep 100000\n`;
      await Deno.writeFile(initrd, await guestInitramfs(kernelHere(), [], script));
      const booted = { kernel: image, initrd };
      const both: { ours: number; theirs: number }[] = [];
      for (let i = 0; i < Math.min(rounds, MOST_ROUNDS); i++) {
        both.push({ ours: await inHvsh(booted), theirs: await inQemu(booted) });
      }
      const ours = median(both.map((each) => each.ours));
      return { ratio: ours, ours, theirs: median(both.map((each) => each.theirs)) };
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
};

/** In a process of its own, which has nothing but what a guest needs. */
async function inHvsh(booted: Booted): Promise<number> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", PROGRAM, JSON.stringify(booted)],
    signal: AbortSignal.timeout(2 * LIMIT_MS),
  }).output();
  const said = new TextDecoder().decode(stdout).trim().split("\n").at(-1);
  if (!success || !said) {
    throw new Obstacle(
      `the guest's process failed: ${new TextDecoder().decode(stderr).slice(-500)}`,
      "run it by hand and see",
    );
  }
  return Number(said) / MiB(1);
}

async function inQemu({ kernel, initrd }: Booted): Promise<number> {
  await using guest = new QemuGuest([
    ...MICROVM,
    ...[
      "-smp",
      `${CPUS}`,
      "-m",
      `${MEMORY / MiB(1)}`,
      "-kernel",
      kernel,
      "-initrd",
      initrd,
      "-append",
      CMDLINE,
    ],
  ]);
  await guest.until(FIRST_LINE, LIMIT_MS);
  return besideGuest(guest.pid, MEMORY) / MiB(1);
}
