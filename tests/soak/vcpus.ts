/** Vcpus that spin are stopped and let go on, again and again: none is lost. Wants /dev/kvm. */
import "../../src/host/preload.ts";
import assert from "node:assert/strict";
import { gpa, hosts } from "../../mod.ts";
import { severalVcpus } from "../several_vcpus.ts";

/** Where each counts: a doubleword for each vCPU. */
const COUNTERS = 0x6000n;
/** lock inc dword [0x6000]; jmp back, in 32-bit code. */
const FIRST = [0xf0, 0xff, 0x05, 0x00, 0x60, 0, 0, 0xeb, 0xf7];
/** In real mode: ebx = APIC id * 4; lock inc dword [bx + 0x6000]; jmp back. */
const OTHERS = [
  ...[0x66, 0xb8, 1, 0, 0, 0, 0x0f, 0xa2], // mov eax, 1; cpuid
  ...[0x66, 0xc1, 0xeb, 24, 0x66, 0xc1, 0xe3, 2], // shr ebx, 24; shl ebx, 2
  ...[0xf0, 0x66, 0xff, 0x87, 0x00, 0x60, 0xeb, 0xf8],
];
/** No stop takes that long, unless it never comes. */
const LIMIT_MS = 60_000;

/** What the rounds came to. */
export interface VcpuRounds {
  readonly rounds: number;
  readonly vcpus: number;
  /** Milliseconds from `pause()` to its stop. */
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
}

/** @throws If a vCPU runs on while the machine is stopped, never goes on, or a stop does not come. */
export async function stopAndGoOn(rounds: number, vcpus: number): Promise<VcpuRounds> {
  await using vm = await severalVcpus(vcpus, OTHERS, FIRST);
  const counters = async () => {
    const bytes = await vm.memory.read(gpa(COUNTERS), vcpus * 4);
    return [...new Uint32Array(bytes.buffer, bytes.byteOffset, vcpus)];
  };
  const run = vm.continue({ timeoutMs: LIMIT_MS });
  // All of them, before anything is measured.
  while ((await counters()).includes(0)) await new Promise((resolve) => setTimeout(resolve, 1));
  await vm.pause();
  await run;
  const start = await counters();
  const took: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const running = vm.continue({ timeoutMs: LIMIT_MS });
    await new Promise((resolve) => setTimeout(resolve, round % 3));
    const asked = performance.now();
    const stop = await vm.pause();
    took.push(performance.now() - asked);
    assert.equal(stop.kind, "pause", stop.kind === "fault" ? `${stop.reason}, vCPU ${stop.vcpu.index}` : "");
    assert.equal(await running, stop);
    const stood = await counters();
    for (const vcpu of vm.vcpus) await vcpu.registers();
    assert.deepEqual(await counters(), stood, "a vCPU runs on");
  }
  const end = await counters();
  for (let i = 0; i < vcpus; i++) assert.notEqual(end[i], start[i], `vCPU ${i} never went on`);
  took.sort((a, b) => a - b);
  const at = (share: number) => Number(took[Math.min(rounds - 1, Math.floor(rounds * share))].toFixed(2));
  return { rounds, vcpus, p50: at(0.5), p99: at(0.99), most: at(1) };
}

/** The suite of `deno task soak`. */
export async function vcpusHold({ runs }: { runs: number }): Promise<void> {
  if (!(await hosts()).some(({ backend, usable }) => backend === "kvm" && usable)) {
    console.log("vcpus: skipped, as there is no usable /dev/kvm here");
    return;
  }
  console.log(JSON.stringify(await stopAndGoOn(runs, 8)));
}

if (import.meta.main) {
  const [rounds = 1000, vcpus = 8] = Deno.args.map(Number);
  console.log(JSON.stringify(await stopAndGoOn(rounds, vcpus)));
}
