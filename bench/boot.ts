/** How long Debian's kernel takes to its initramfs's first line, beside QEMU's `microvm` on the same /dev/kvm. */
import { linux, MiB, open } from "../mod.ts";
import { findKernel } from "../tests/lab/kernel.ts";
import { guestInitramfs } from "../tests/linux/initramfs.ts";
import { type Effort, type Figure, type Measured, Obstacle, summary } from "./figure.ts";

const FIRST_LINE = "hvsh-bench: up";
const CMDLINE = "console=ttyS0 quiet panic=-1";
const MEMORY = 256;
const LIMIT_MS = 1_800_000;

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

function kernelHere(): ReturnType<typeof findKernel> {
  try {
    return findKernel();
  } catch (cause) {
    throw new Obstacle(
      `there is no kernel to boot: ${cause instanceof Error ? cause.message : cause}`,
      "install Debian's linux-image-amd64",
    );
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
  await using child = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...["-M", "microvm", "-accel", "kvm", "-cpu", "host", "-smp", `${cpus}`, "-m", `${MEMORY}`],
      ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"],
      ...["-kernel", kernel, "-initrd", path, "-append", CMDLINE],
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  let text = "";
  for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (!text.includes(FIRST_LINE)) continue;
    const took = performance.now() - began;
    child.kill("SIGKILL");
    return took;
  }
  throw new Obstacle(`QEMU ended before the kernel was up: ${text.slice(-300)}`, "run it by hand and see");
}
