/**
 * What kernels find that a boot loader starts: what QEMU's SeaBIOS leaves behind before `-kernel` goes on, tables in
 * memory and chips alike, on the interpreter and on KVM where it can be had.
 */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { type BackendName, elf, gpa, type GuestMachine, hosts, linux, MiB, open } from "../mod.ts";

const kvm = (await hosts()).find(({ backend }) => backend === "kvm");
if (!kvm?.usable) console.log(`skipped on KVM: ${kvm?.reason}`);
const backends: BackendName[] = kvm?.usable ? ["fake", "kvm"] : ["fake"];

const FIXTURES = new URL("../fixtures/", import.meta.url);

/** Where the kernel below leaves what it read. */
const NOTES = 0x500;
/** The ports it reads: masks of both 8259s, their edge/level registers. */
const PORTS = [0x21, 0xa1, 0x4d0, 0x4d1];

/** A multiboot kernel without ELF headers that reads those ports and leaves by the debug-exit device. */
function kernel(): Uint8Array {
  const at = 0x100000;
  const flags = 1 << 16;
  const entry = at + 32;
  const header = [0x1badb002, flags, -(0x1badb002 + flags) | 0, at, at, 0, 0, entry];
  const code = PORTS.flatMap((port, i) => [
    ...[0x66, 0xba, port & 0xff, port >> 8], // mov dx, port
    0xec, // in al, dx
    ...[0xa2, (NOTES + i) & 0xff, (NOTES + i) >> 8, 0, 0], // mov [NOTES + i], al
  ]);
  return new Uint8Array([...new Uint8Array(Int32Array.from(header).buffer), ...code, 0xe6, 0xf4, 0xf4]);
}

async function run(vm: GuestMachine): Promise<number[]> {
  const stop = await vm.continue({ timeoutMs: 30_000 });
  assert.equal(stop.kind, "exit");
  return [...await vm.memory.read(gpa(NOTES), PORTS.length)];
}

/** The 16 bytes of the first place in the BIOS's segment, in steps of 16, that begin with `signature`. */
async function find(vm: GuestMachine, signature: string): Promise<number | undefined> {
  const wanted = new TextEncoder().encode(signature);
  const found = await vm.memory.search(wanted, { from: gpa(0xf0000), to: gpa(0x100000) });
  return found.map(Number).find((at) => at % 16 === 0);
}

const IA32_MTRR_DEF_TYPE = 0x2ff;

for (const file of ["multiboot.bin", "pvh.bin", "bzimage.bin"]) {
  Deno.test({
    name: `kernel start: the MTRRs are on and all memory is write-back, after a reset too: ${file}`,
    ignore: !kvm?.usable,
    fn: async () => {
      const path = new URL(file, FIXTURES);
      const boot = file === "bzimage.bin" ? linux({ kernel: path }) : elf(path);
      await using vm = await open({ backend: "kvm", memory: MiB(16), boot });
      const type = async () => await vm.vcpus[0].readMsr(IA32_MTRR_DEF_TYPE);
      assert.equal(await type(), 0x806n);
      await vm.vcpus[0].writeMsr(IA32_MTRR_DEF_TYPE, 0n);
      await vm.reset();
      assert.equal(await type(), 0x806n);
    },
  });
}

for (const backend of backends) {
  Deno.test(`kernel start: interrupts are masked and level-triggered as SeaBIOS leaves them, after a reset too, on ${backend}`, async () => {
    await using vm = await open({ backend, memory: MiB(16), boot: elf(kernel()) });
    const left = [0xb8, 0x8e, 0x00, 0x0c];
    assert.deepEqual(await run(vm), left);
    await vm.reset();
    assert.deepEqual(await run(vm), left);
  });

  Deno.test(`kernel start: PVH's start info tells of ACPI's root pointer, after a reset too, on ${backend}`, async () => {
    const cpus = backend === "kvm" ? 2 : 1;
    await using vm = await open({
      backend,
      cpus,
      memory: MiB(64),
      boot: elf(new URL("pvh.bin", FIXTURES), { protocol: "pvh" }),
    });
    for (let round = 0; round < 2; round++) {
      const { rbx } = await vm.vcpus[0].registers();
      const root = await vm.memory.readUint(gpa(rbx + 32n), 8);
      assert.equal(Number(root), await find(vm, "RSD PTR ") ?? 0);
      // The BIOS data area: conventional memory, and an empty keyboard buffer.
      assert.equal(await vm.memory.readUint(gpa(0x413), 2), 639n);
      assert.equal(await vm.memory.readUint(gpa(0x41a), 4), 0x001e_001en);
      // The interpreter has no local APIC for tables to tell of.
      assert.equal(root !== 0n, backend === "kvm");
      await vm.reset();
    }
    if (backend === "fake") return;
    // MultiProcessor Specification 1.4, 4.1 and 4.3.1: as many processor entries as vCPUs.
    const pointer = await find(vm, "_MP_");
    assert.ok(pointer !== undefined, "no MP tables");
    const table = await vm.memory.readUint(gpa(pointer + 4), 4);
    const entries = await vm.memory.read(gpa(table + 44n), 20 * cpus + 1);
    assert.deepEqual([...entries].filter((_, i) => i % 20 === 0), [...Array(cpus).fill(0), 1]);
    assert.deepEqual([...entries].filter((_, i) => i % 20 === 1).slice(0, cpus), cpus === 2 ? [0, 1] : [0]);
    const signature = await vm.memory.readUint(gpa(table + 48n), 4);
    assert.notEqual(signature, 0n, "CPUID says which processor it is");
  });
}
