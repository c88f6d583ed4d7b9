/** How long Debian's kernel takes to its initramfs's first line, beside QEMU's `microvm` on the same /dev/kvm. */
import { linux, MiB, open } from "../../mod.ts";
import { guestInitramfs } from "../../tests/linux/initramfs.ts";
import { type Effort, type Figure, type Measured, summary } from "../figure.ts";
import { kernelHere, MICROVM, QemuGuest } from "./microvm.ts";

const FIRST_LINE = "hvsh-bench: up";
const CMDLINE = "console=ttyS0 quiet panic=-1";
const MEMORY = 256;
/** What a boot may take in a lab on a busy machine: what takes longer hangs. */
const LIMIT_MS = 600_000;

/** The figure with one vCPU. */
export const boot1: Figure = figure("boot-1", 1);
/** The figure with two. */
export const boot2: Figure = figure("boot-2", 2);

function figure(name: string, cpus: number): Figure {
  return {
    name,
    what:
      `open() to the initramfs's first line, ${cpus} vCPU; beside it QEMU -accel kvm -M microvm, from its start`,
    goal: 1.15,
    better: "lower",
    unit: "ms",
    needs: ["kvm"],
    measure: (effort) => boots(cpus, effort),
  };
}

/** What both sides boot. */
interface Image {
  readonly kernel: string;
  readonly initrd: Uint8Array;
  /** The same in a file. */
  readonly path: string;
}

async function boots(cpus: number, { rounds }: Effort): Promise<Measured> {
  const path = await Deno.makeTempFile({ suffix: ".cpio.gz" });
  try {
    const kernel = kernelHere();
    const initrd = await guestInitramfs(kernel, [], `echo "${FIRST_LINE}"\nexec sleep 100000\n`);
    await Deno.writeFile(path, initrd);
    const image = { kernel: kernel.image, initrd, path };
    const measured: { ours: number; theirs: number }[] = [];
    for (let i = 0; i < rounds; i++) {
      measured.push({ ours: await inHvsh(image, cpus), theirs: await inQemu(image, cpus) });
    }
    return { ...summary(measured), on: `${rounds} boots each` };
  } finally {
    await Deno.remove(path);
  }
}

/** Milliseconds from open() on. */
async function inHvsh({ kernel, initrd }: Image, cpus: number): Promise<number> {
  const began = performance.now();
  await using vm = await open({
    backend: "kvm",
    memory: MiB(MEMORY),
    cpus,
    boot: linux({ kernel, initrd, cmdline: CMDLINE }),
  });
  const run = vm.continue({ timeoutMs: LIMIT_MS });
  await vm.console.expect(FIRST_LINE, { timeoutMs: LIMIT_MS });
  const took = performance.now() - began;
  await vm.pause();
  await run;
  return took;
}

/** Milliseconds from the start of the process on. */
async function inQemu({ kernel, path }: Image, cpus: number): Promise<number> {
  const began = performance.now();
  await using guest = new QemuGuest([
    ...MICROVM,
    ...["-smp", `${cpus}`, "-m", `${MEMORY}`, "-kernel", kernel, "-initrd", path, "-append", CMDLINE],
  ]);
  await guest.until(FIRST_LINE, LIMIT_MS);
  return performance.now() - began;
}
