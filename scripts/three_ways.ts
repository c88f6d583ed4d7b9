/**
 * One kernel on every hypervisor: fixtures/three_ways.bin by multiboot, PVH or Xen PV, each instruction of its loop
 * written to a file, with changed registers and memory. "planted" changes one instruction.
 *
 *     deno run -A scripts/three_ways.ts BACKEND TRACE [planted]     writes TRACE (fake, kvm, qemu, xen-pv, xen-pvh, xen-hvm)
 *     deno task hvsh diff TRACE OTHER_TRACE
 */
import { type BackendName, elf, gpa, gva, MiB, open, traceLines } from "../mod.ts";

const INSTRUCTIONS = 400;
const BASE = 0xffff_ffff_8000_0000n;
const [backend, file, planted] = Deno.args;
if (file === undefined) throw new Error("a backend and a file are wanted: three_ways.ts qemu TRACE");
const kernel = new URL("../fixtures/three_ways.bin", import.meta.url);
await using vm = await open({ backend: backend as BackendName, memory: MiB(16), boot: elf(kernel) });

const body = vm.symbols.lookup("body");
if (body === undefined) throw new Error("the fixture has lost its symbol `body`");
// By multiboot and PVH a kernel starts without paging: only its physical address is there yet. QEMU's stub knows linear ones.
const paged = vm.boot?.protocol === "xen-pv" || vm.backend === "qemu";
const stop = await vm.runUntil(paged ? gva(body) : gpa(body - BASE));
console.log(`${vm.backend}: at ${vm.symbols.format(stop.rip)} by ${stop.kind}`);
if (planted !== undefined) {
  // What `add rbx, 2` adds is its last byte.
  const [, add] = await vm.disassemble(body, { count: 2 });
  await vm.vcpus[0].memory.writeUint(gva(add.address + BigInt(add.length) - 1n), 1, 3n);
}

const lines: string[] = [];
for await (const line of traceLines(vm, INSTRUCTIONS)) lines.push(line);
await Deno.writeTextFile(file, lines.join("\n") + "\n");
console.log(`${lines.length - 1} instructions in ${file}`);
