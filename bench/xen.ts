/** The figures of `deno task bench:xen`, in dom0: PVH guests of hvsh's own, and C programs with the same libraries. */

import { fileURLToPath } from "node:url";
import { type BootSpec, domains, elf, flat, gpa, type Machine, MiB, open } from "../mod.ts";
import { type Effort, type Figure, median, Obstacle, rates, type Side } from "./figure.ts";
import { LATCH, LATCH_PORT, STEPPED } from "./guest.ts";
import { readAll } from "./step.ts";
import { hex, Twin } from "./twin.ts";

const LIBRARIES = ["-lxenctrl", "-lxenevtchn", "-lxenforeignmemory", "-lxendevicemodel"];
const AT = 0x1000;
const SIZE = MiB(64);
/** As many as hvsh keeps mapped. */
const PAGES = 1024;
const MIB = 2 ** 20;
/** Where Debian has it. */
const XENCTX = "/usr/lib/xen-4.17/bin/xenctx";

/** inc rax; add rbx, rax; mov rcx, rbx; push rcx; pop rdx; jmp back */
const LONG = Uint8Array.of(0x48, 0xff, 0xc0, 0x48, 0x01, 0xc3, 0x48, 0x89, 0xd9, 0x51, 0x5a, 0xeb, 0xf3);
/** The contract's guest: code is at the same place in the file and in memory, and the stub's room on this page. */
const PV_KERNEL = new URL("../fixtures/pv_contract.bin", import.meta.url);
const PV_ROOM = 0x8_2000;

/**
 * In the lab everything takes a hundred times as long, to begin a run and to end it too; and V8 compiles what it runs for
 * the first thousands of times.
 */
const longer = (effort: Effort): Effort => ({ ...effort, runMs: 10 * effort.runMs });

/** A guest of the kind that is stepped, or served; the number of its domain. */
async function guest(code: Uint8Array, memory = MiB(16)): Promise<{ vm: Machine; domain: number }> {
  return await opened("xen-pvh", flat(code, { at: AT }), memory);
}

async function opened(backend: "xen-pvh" | "xen-pv", boot: BootSpec, memory = MiB(16)) {
  const before = new Set((await domains()).map(({ id }) => id));
  const vm = await open({ backend, memory, boot });
  const made = (await domains()).find(({ id }) => !before.has(id));
  if (made === undefined) throw new Obstacle("the guest's domain is not to be found", "look at `xl list`");
  return { vm, domain: made.id };
}

/** The twin of a figure, on a guest that hvsh made and leaves alone. */
async function twinOn(name: string, domain: number, settings: Record<string, string | number> = {}) {
  return await Twin.start(name, { domain, ...settings }, LIBRARIES);
}

const step: Figure = {
  name: "hvm-step",
  what:
    "await vm.step({count, each}) of a PVH guest, all general registers read; C: vm_event, poll and a reply",
  goal: 0.8,
  better: "higher",
  unit: "steps/s",
  needs: ["xen", "cc"],
  async measure(effort) {
    const { vm } = await guest(STEPPED);
    await using _ = vm;
    const { vm: other, domain } = await guest(STEPPED);
    await using _other = other;
    await using twin = await twinOn("xen_step", domain);
    return await rates(stepsOf(vm), twin.run, longer(effort));
  },
};

const stepsOf = (vm: Machine): Side => async (count) => {
  const start = performance.now();
  const stop = await vm.step({ count, each: readAll });
  const took = performance.now() - start;
  if (stop.kind !== "step") throw new Obstacle(`the steps ended with ${stop.kind}`, "step the guest by hand");
  // It holds the domain: a PV guest's vCPU would go round in the stub while the other side is measured.
  await vm.vcpus[0].registers();
  return took * 1e6;
};

const pvStep: Figure = {
  ...step,
  name: "pv-step",
  what:
    "await vm.step({count, each}) of a PV guest, all general registers read; C: the same stub, poll, the context",
  goal: 0.7,
  async measure(effort) {
    const kernel = await Deno.readFile(PV_KERNEL);
    kernel.set(LONG, AT);
    const { vm } = await opened("xen-pv", elf(kernel));
    await using _ = vm;
    const { vm: other, domain } = await opened("xen-pv", elf(kernel));
    await using _other = other;
    // The twin takes the very stub that hvsh puts in for its first step.
    await vm.step();
    const [ours, theirs] = await Promise.all(
      [vm, other].map(({ memory }) => memory.read(gpa(PV_ROOM), 4096)),
    );
    const first = ours.findIndex((byte, at) => byte !== theirs[at]);
    const last = ours.findLastIndex((byte, at) => byte !== theirs[at]);
    const settings = { stub: hex(ours.subarray(first, last + 1)), place: PV_ROOM + first };
    await using twin = await twinOn("xen_stub", domain, settings);
    return await rates(stepsOf(vm), twin.run, longer(effort));
  },
};

const port: Figure = {
  name: "ioreq",
  what: "IN and OUT served by a device in TypeScript; C: an ioreq server",
  goal: 0.7,
  better: "higher",
  unit: "accesses/s",
  needs: ["xen", "cc"],
  async measure(effort) {
    const { vm } = await guest(LATCH);
    await using _ = vm;
    const { vm: other, domain } = await guest(LATCH);
    await using _other = other;
    await using twin = await twinOn("xen_port", domain, { port: LATCH_PORT });
    let latch = 0;
    let left = 0;
    let last = 0;
    const count = () => {
      if (--left !== 0) return;
      last = performance.now();
      void vm.pause();
    };
    await vm.devices.add({
      name: "latch",
      ports: { start: LATCH_PORT, length: 1 },
      read: (_, data) => (data[0] = latch, count()),
      write: (_, data) => (latch = data[0], count()),
    });
    const ours: Side = async (accesses) => {
      left = accesses;
      const start = performance.now();
      await vm.continue();
      return (last - start) * 1e6;
    };
    return await rates(ours, twin.run, longer(effort));
  },
};

const read: Figure = {
  name: "foreign-read",
  what: "64 MiB by vm.memory.readInto(); C: map, memcpy and unmap of 1024 frames at a time",
  goal: 0.7,
  better: "higher",
  unit: "MiB/s",
  needs: ["xen", "cc"],
  async measure(effort) {
    const { vm, domain } = await guest(STEPPED, SIZE);
    await using _ = vm;
    await using twin = await twinOn("xen_read", domain, { size: SIZE, pages: PAGES });
    const into = new Uint8Array(SIZE).fill(1);
    const ours: Side = async (count) => {
      const start = performance.now();
      for (let i = 0; i < count; i++) await vm.memory.readInto(gpa(0), into);
      return (performance.now() - start) * 1e6;
    };
    return await rates(ours, twin.run, effort, SIZE / MIB);
  },
};

const registers: Figure = {
  name: "regs",
  what: "hvsh -c 'attach xen:N; info registers; quit', a process; against xenctx -a and hvsh -c quit",
  goal: 1.3,
  better: "lower",
  unit: "ms",
  needs: ["xen"],
  async measure({ rounds }) {
    const { vm, domain } = await guest(STEPPED);
    await using _ = vm;
    await using copy = await installed();
    const shell = (...commands: string[]) => [
      Deno.execPath(),
      "task",
      "-q",
      "hvsh",
      ...commands.flatMap((command) => ["-c", command]),
    ];
    const look = shell(`attach xen:${domain}`, "info registers", "quit");
    // Deno keeps what it made of the copy's files.
    await took(look, copy.folder);
    const times: { ours: number; theirs: number }[] = [];
    for (let i = 0; i < rounds; i++) {
      const ours = await took(look, copy.folder);
      const quit = await took(shell("quit"), copy.folder);
      times.push({ ours, theirs: await took([XENCTX, "-a", `${domain}`]) + quit });
    }
    return {
      ratio: median(times.map((t) => t.ours / t.theirs)),
      ours: median(times.map((t) => t.ours)),
      theirs: median(times.map((t) => t.theirs)),
    };
  },
};

/** What the shell is run from. */
const INSTALLED = ["deno.json", "deno.lock", "package.json", "src"];

/**
 * A copy of hvsh on a file system of dom0's own, as a host has it that hvsh is used on: the lab's checkout is a share
 * that asks the machine beneath for each file.
 */
async function installed(): Promise<{ readonly folder: string } & AsyncDisposable> {
  const folder = await Deno.makeTempDir({ prefix: "hvsh-bench-" });
  const from = INSTALLED.map((name) => fileURLToPath(new URL(`../${name}`, import.meta.url)));
  await took(["cp", "-r", ...from, folder]);
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

/** Milliseconds that a program takes. @throws {Obstacle} If it fails. */
async function took([program, ...args]: string[], cwd?: string): Promise<number> {
  const start = performance.now();
  const { success, stderr } = await new Deno.Command(program, { args, stdin: "null", cwd }).output();
  if (!success) {
    throw new Obstacle(`${program} failed: ${new TextDecoder().decode(stderr).trim()}`, "run it by hand");
  }
  return performance.now() - start;
}

/** What is measured in dom0. */
export const XEN_FIGURES: readonly Figure[] = [step, pvStep, port, read, registers];
