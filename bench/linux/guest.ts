/**
 * A guest with Debian's kernel and packages that is asked to run commands, on hvsh and on QEMU's `microvm`: what two
 * figures of devices are measured with. Both boot the same files, both are asked over their serial console.
 */
import { type Device, linux, MiB, open, TimeoutError, virtioDisk } from "../../mod.ts";
import { missingPackages, PACKAGES } from "../../tests/lab/packages.ts";
import { debianRoot } from "../../tests/linux/debian_root.ts";
import { guestInitramfs } from "../../tests/linux/initramfs.ts";
import { Obstacle } from "../figure.ts";
import { kernelHere, MICROVM, QemuGuest } from "./microvm.ts";

const MEMORY = 512;
const CMDLINE = "console=ttyS0 quiet panic=-1 mitigations=off";
/** What a boot, or a command, may take in a lab on a busy machine: what takes longer hangs. */
const LIMIT_MS = 600_000;
const ROOT_MIB = 512;
const READY = "hvsh-bench: ready";
/** What the guest's shell says behind each command: its exit status. */
const DONE = /^hvsh-bench: done (\d+)\s*$/m;

/** Process 1 of the root: runs each line that it reads. Its echo would be an exit for each byte of it. */
const ON_ROOT = `#!/bin/bash
stty -echo
mount -t tmpfs tmpfs /tmp
cd /tmp
echo "${READY}"
while read -r line; do eval "$line"; echo "hvsh-bench: done $?"; done
`;

/** What both guests boot. */
export interface LinuxFiles {
  readonly kernel: string;
  readonly initrd: string;
  /** An image with the packages, which neither side writes to, in a folder of its own: the caller's to remove. */
  readonly root: string;
}

/** A guest that has booted. Disposal ends it. */
export interface Asked extends AsyncDisposable {
  /**
   * Runs a command in the guest's bash, and gives what it printed.
   *
   * @throws {Obstacle} If it fails, or does not end.
   */
  ask(command: string): Promise<string>;
}

/**
 * Makes the files in `folder`.
 *
 * @param packages Debian's, installed here, that the guest shall have.
 * @param modules Of the kernel, beside those for its root.
 * @param setup Lines for busybox's shell before the root is taken.
 */
export async function linuxFiles(
  folder: string,
  { packages, modules, setup = "" }: {
    readonly packages: readonly string[];
    readonly modules: readonly string[];
    readonly setup?: string;
  },
): Promise<LinuxFiles> {
  const wanting = missingPackages(PACKAGES.filter(({ name }) => packages.includes(name)));
  if (wanting.length > 0) {
    throw new Obstacle(`there is no ${wanting.map(({ name }) => name).join(" or ")}`, "deno task setup");
  }
  const kernel = kernelHere();
  const script = `${setup}
mount -t ext4 -o ro /dev/vda /mnt
for name in dev proc sys; do mount --move /$name /mnt/$name; done
exec switch_root /mnt /start
`;
  const wanted = ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4", ...modules];
  const initrd = `${folder}/initrd.gz`;
  await Deno.writeFile(initrd, await guestInitramfs(kernel, wanted, script));
  const root = await debianRoot({ start: ON_ROOT }, ROOT_MIB, packages);
  return { kernel: kernel.image, initrd, root };
}

/** Boots it on hvsh. The guest stands still while it is not asked anything, so that the other has the host. */
export async function askedOnHvsh(files: LinuxFiles, devices: readonly Device[]): Promise<Asked> {
  const { kernel, initrd, root } = files;
  const vm = await open({
    backend: "kvm",
    memory: MiB(MEMORY),
    boot: linux({ kernel, initrd, cmdline: CMDLINE }),
    devices: [virtioDisk(root, { name: "root", mode: "read-only" }), ...devices],
  });
  const until = async (pattern: RegExp | string) => {
    const running = vm.continue({ timeoutMs: LIMIT_MS });
    const shown = vm.console.expect(pattern, { timeoutMs: LIMIT_MS });
    try {
      const stop = await Promise.race([shown.then(() => undefined), running]);
      if (stop === undefined || stop.kind === "timeout") return await shown;
      const why = "reason" in stop ? `${stop.kind} (${stop.reason})` : stop.kind;
      throw new Obstacle(`the guest on hvsh stopped: ${why}`, "run it by hand and see");
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
      throw new Obstacle(`the guest on hvsh hangs: ${error.message}`, "run it by hand and see");
    } finally {
      shown.catch(() => {}); // where the guest has stopped nobody waits for it
      await vm.pause();
      await running;
    }
  };
  try {
    await until(READY);
  } catch (error) {
    await vm.close();
    throw error;
  }
  return {
    async ask(command) {
      const from = vm.console.text.length;
      await vm.console.send(`${command}\n`);
      return answered("hvsh", command, await until(DONE), vm.console.text.slice(from));
    },
    [Symbol.asyncDispose]: () => vm.close(),
  };
}

/** Boots it on QEMU's `microvm`. @param args Options for its devices, beside the root's. */
export async function askedOnQemu(files: LinuxFiles, args: readonly string[]): Promise<Asked> {
  const { kernel, initrd, root } = files;
  const guest = new QemuGuest([
    ...MICROVM,
    ...["-m", `${MEMORY}`, "-kernel", kernel, "-initrd", initrd, "-append", CMDLINE],
    ...["-drive", `if=none,id=root,file=${root},format=raw,readonly=on`],
    ...["-device", "virtio-blk-device,drive=root", ...args],
  ]);
  try {
    await guest.until(READY, LIMIT_MS);
  } catch (error) {
    await guest[Symbol.asyncDispose]();
    throw error;
  }
  return {
    async ask(command) {
      await guest.send(`${command}\n`);
      const match = await guest.until(DONE, LIMIT_MS);
      return answered("QEMU", command, match, match.input!);
    },
    [Symbol.asyncDispose]: () => guest[Symbol.asyncDispose](),
  };
}

function answered(on: string, command: string, done: RegExpMatchArray, text: string): string {
  if (done[1] === "0") return text;
  throw new Obstacle(
    `"${command}" in the guest on ${on} ended with ${done[1]}: ${text.slice(-500)}`,
    "see what it says",
  );
}
