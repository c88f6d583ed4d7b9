/** Tiny guests for the tests of this folder: bytes at an address, a mode, and the exits. */

import "../host/preload.ts";
import assert from "node:assert/strict";
import type { VmExit } from "../vm/exit.ts";
import type { RegisterValues } from "../vm/registers.ts";
import { can } from "../vm/capabilities.ts";
import type { KvmBackend, KvmOptions } from "./backend.ts";
import { kvmCapabilities } from "./capabilities.ts";
import { kvmHost } from "./hosts.ts";
import { openKvm } from "./open.ts";
import type { KvmVcpu } from "./vcpu.ts";

const host = kvmHost();
if (!host.usable) console.log(`skipped, as ${host.reason}: tests with a guest on KVM`);

/** Where the code of these guests begins. */
export const CODE = 0x1000;

/** A test that needs KVM, and where named, capabilities that the probe found; what is missing is said. */
export function kvmTest(name: string, needs: readonly string[], fn: () => void | Promise<void>): void {
  const missing = host.usable ? needs.filter((need) => !can(kvmCapabilities(), need)) : [];
  if (missing.length > 0) {
    const why = missing.map((need) => `${need} (${kvmCapabilities().get(need)?.reason})`);
    console.log(`skipped, as this host lacks ${why.join(", ")}: ${name}`);
  }
  Deno.test({ name, ignore: !host.usable || missing.length > 0, fn });
}

/** Opens a guest of 1 MiB without interrupt controllers, unless `options` say otherwise. */
export function guest(options: Partial<KvmOptions> = {}): KvmBackend {
  return openKvm({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false, ...options });
}

/** Puts `code` at `at` and the vCPU before it, in real mode with all segments at 0. */
export function real(machine: KvmBackend, code: readonly number[], at = CODE): KvmVcpu {
  machine.memory.write(BigInt(at), Uint8Array.from(code));
  const vcpu = machine.vcpus[0];
  vcpu.setRegisters({ cs: 0n, cs_base: 0n, rip: BigInt(at), rflags: 2n, rsp: 0x8000n, ds: 0n, ds_base: 0n });
  return vcpu;
}

/** Segments of 4 GiB from address 0 at CPL 0: code by selector 8 with `code` as attributes, data by 0x10. */
function flatSegments(code: bigint): RegisterValues {
  return Object.fromEntries(
    ["cs", "ds", "es", "fs", "gs", "ss"].flatMap((name) => [
      [name, name === "cs" ? 8n : 0x10n],
      [`${name}_base`, 0n],
      [`${name}_limit`, 0xffff_ffffn],
      [`${name}_attributes`, name === "cs" ? code : 0xc093n],
    ]),
  );
}

/** The same in 64-bit mode at CPL 0, the first GiB mapped to itself (tables at 0x2000). */
export function long(machine: KvmBackend, code: readonly number[], at = CODE): KvmVcpu {
  const table = (where: number, entries: bigint[]) =>
    machine.memory.write(BigInt(where), new Uint8Array(BigUint64Array.from(entries).buffer));
  table(0x2000, [0x3007n]);
  table(0x3000, [0x4007n]);
  table(0x4000, Array.from({ length: 512 }, (_, i) => BigInt(i) * 0x20_0000n | 0x87n));
  machine.memory.write(BigInt(at), Uint8Array.from(code));
  const vcpu = machine.vcpus[0];
  vcpu.setRegisters({
    ...flatSegments(0xa09bn),
    cr0: 0x8001_0031n,
    cr3: 0x2000n,
    cr4: 0x620n,
    efer: 0x500n,
    rip: BigInt(at),
    rsp: 0x8000n,
    rflags: 2n,
  });
  return vcpu;
}

/** The same in 32-bit protected mode at CPL 0 without paging, interrupts on: GDT at 0x2000, IDT at 0x3000. */
export function protectedMode(machine: KvmBackend, code: readonly number[], at = CODE): KvmVcpu {
  const gdt = BigUint64Array.of(0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn);
  machine.memory.write(0x2000n, new Uint8Array(gdt.buffer));
  machine.memory.write(BigInt(at), Uint8Array.from(code));
  const vcpu = machine.vcpus[0];
  vcpu.setRegisters({
    ...flatSegments(0xc09bn),
    gdtr_base: 0x2000n,
    gdtr_limit: 0x17n,
    idtr_base: 0x3000n,
    idtr_limit: 0x7ffn,
    cr0: 0x11n,
    rip: BigInt(at),
    rsp: 0x8000n,
    rbx: 0n,
    rflags: 0x202n,
  });
  return vcpu;
}

/** Runs until the guest leaves for a reason; fails after `most` slices. */
export function leave(enter: () => VmExit, most = 200): VmExit {
  for (let i = 0; i < most; i++) {
    const exit = enter();
    if (exit.kind !== "slice") return exit;
  }
  return assert.fail(`the guest did not leave within ${most} slices`);
}

/** Runs until an exit of one kind, and gives it with its type. */
export function expectExit<K extends VmExit["kind"]>(vcpu: KvmVcpu, kind: K): VmExit & { kind: K } {
  const exit = leave(() => vcpu.run());
  assert.equal(exit.kind, kind);
  return exit as VmExit & { kind: K };
}

/** Threads of vCPUs, by the name that Deno gives Workers, and descriptors of this process. */
export function held(): [number, number] {
  const threads = [...Deno.readDirSync("/proc/self/task")].filter(({ name }) =>
    /^worker-/.test(Deno.readTextFileSync(`/proc/self/task/${name}/comm`))
  );
  return [threads.length, [...Deno.readDirSync("/proc/self/fd")].length];
}
