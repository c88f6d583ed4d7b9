/** A disk that SeaBIOS boots and that reads itself, beside QEMU with the same ROM, the same disk and KVM. */

import { firmware, MiB, open } from "../mod.ts";
import { type Effort, type Figure, type Measured, Obstacle, summary } from "./figure.ts";

const BIOS = "/usr/share/seabios/bios-256k.bin";
const SECTOR = new URL("../fixtures/disk_read.bin", import.meta.url);
const SIZE = MiB(64);
const MEMORY = MiB(64);
/** What the boot sector says at 0x7c00, at its end, and if a read fails. */
const STX = 0x02;
const ETX = 0x03;
const CAN = 0x18;
/** More than any host takes. */
const LIMIT_MS = 120_000;

/** When each happened, in milliseconds from any zero. */
interface Times {
  /** The firmware says its first character, right after the reset. */
  reset: number;
  /** The boot sector runs. */
  boot: number;
  /** All of the disk has been read. */
  end: number;
}

/** Notes when the marks come in what a guest says; `done` once the last one has. */
function watch() {
  const times: Times = { reset: NaN, boot: NaN, end: NaN };
  const { promise: done, resolve, reject } = Promise.withResolvers<Times>();
  const hear = (bytes: Uint8Array) => {
    const now = performance.now();
    if (Number.isNaN(times.reset)) times.reset = now;
    if (Number.isNaN(times.boot) && bytes.includes(STX)) times.boot = now;
    if (bytes.includes(CAN)) reject(new Obstacle("the guest's disk reported an error", "see hvsh's notices"));
    if (bytes.includes(ETX)) {
      times.end = now;
      resolve(times);
    }
  };
  return { hear, done };
}

async function ours(disk: string): Promise<Times> {
  const boot = firmware(BIOS, { disk, serial: false });
  await using vm = await open({ backend: "kvm", memory: MEMORY, boot });
  const { hear, done } = watch();
  using _log = vm.debugLog.onOutput(hear);
  using _marks = vm.console.onOutput(hear);
  const running = vm.continue({ timeoutMs: LIMIT_MS });
  const stopped = running.then((stop): never => {
    throw new Obstacle(`the guest stopped (${stop.kind}) before it had read its disk`, "see vm.debugLog");
  });
  const times = await Promise.race([done, stopped]);
  stopped.catch(() => {}); // by the pause that follows
  await vm.pause();
  return times;
}

/** Firmware log and marks come through one character device: its writes cost both guests an exit each. */
async function theirs(disk: string): Promise<Times> {
  const args = [
    ...[
      "-accel",
      "kvm",
      "-M",
      "pc",
      "-m",
      String(MEMORY / MiB(1)),
      "-bios",
      BIOS,
      "-vga",
      "std",
      "-net",
      "none",
    ],
    ...["-display", "none", "-serial", "null", "-monitor", "none", "-chardev", "stdio,id=said,mux=on"],
    ...[
      "-device",
      "isa-debugcon,iobase=0x402,chardev=said",
      "-device",
      "isa-debugcon,iobase=0xe9,chardev=said",
    ],
    ...["-drive", `file=${disk},format=raw,if=ide`],
  ];
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command("qemu-system-x86_64", { args, stdin: "null", stdout: "piped" }).spawn();
  } catch (cause) {
    if (!(cause instanceof Deno.errors.NotFound)) throw cause;
    throw new Obstacle("there is no qemu-system-x86_64", "apt-get install qemu-system-x86");
  }
  const { hear, done } = watch();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const reading = (async () => {
    for await (const bytes of child.stdout) hear(bytes);
    throw new Obstacle("QEMU ended before its guest had read the disk", "see its message above");
  })();
  try {
    return await Promise.race([done, reading]);
  } finally {
    reading.catch(() => {}); // it ends with QEMU
    clearTimeout(timer);
    child.kill("SIGKILL");
    await child.status;
  }
}

/** Boots both in turn, and takes a number of each. */
async function measure(
  { rounds }: Effort,
  number: (times: Times) => number,
): Promise<Measured> {
  const disk = await Deno.makeTempFile({ suffix: ".img" });
  try {
    const bytes = new Uint8Array(SIZE);
    for (let i = 0; i < bytes.length; i++) bytes[i] = i ^ i >> 11;
    bytes.set(await Deno.readFile(SECTOR));
    await Deno.writeFile(disk, bytes);
    const both: { ours: number; theirs: number }[] = [];
    for (let i = 0; i < rounds; i++) {
      both.push({ ours: number(await ours(disk)), theirs: number(await theirs(disk)) });
    }
    return summary(both);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Obstacle(`a file is missing: ${error.message}`, "deno task setup");
  } finally {
    await Deno.remove(disk);
  }
}

/** From the reset to a boot sector's first instruction. */
export const bootBios: Figure = {
  name: "boot-bios",
  what: "SeaBIOS from reset to a disk's boot sector; QEMU -accel kvm -M pc, same ROM and disk",
  goal: 1,
  better: "lower",
  unit: "ms",
  needs: ["kvm"],
  measure: (effort) => measure(effort, ({ reset, boot }) => boot - reset),
};

/** A whole disk by bus-master DMA. */
export const ideRead: Figure = {
  name: "ide-read",
  what: "64 MiB from a disk file by ATA DMA, 128 KiB a command; QEMU -accel kvm, if=ide",
  goal: 0.7,
  better: "higher",
  unit: "bytes/s",
  needs: ["kvm"],
  measure: (effort) => measure(effort, ({ boot, end }) => SIZE / (end - boot) * 1000),
};
