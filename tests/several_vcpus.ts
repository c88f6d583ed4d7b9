/** Guest code that starts all vCPUs by INIT and SIPI: the first in 32-bit code at 0x1000, the others in real mode. */
import { flat, gpa, type Machine, open } from "../mod.ts";

const u32 = (n: number) => [n & 0xff, n >> 8 & 0xff, n >> 16 & 0xff, n >>> 24];
/** mov dword [at], value */
const store = (at: number, value: number) => [0xc7, 0x05, ...u32(at), ...u32(value)];

/** INIT, then SIPI with vector 8, to all but the sender (SDM vol. 3A, 12.6.1). */
const START_OTHERS = [...store(0xfee0_0300, 0xc4500), ...store(0xfee0_0300, 0xc4608)];
/** Where the others begin: CS is 0x800, so that their addresses are offsets in it; DS is 0. */
export const OTHERS = 0x8000n;
/** jmp $ */
export const SPIN: readonly number[] = [0xeb, 0xfe];

/** Opens such a guest, with 1 MiB; on KVM if nothing else is said. */
export async function severalVcpus(
  cpus: number,
  others: readonly number[],
  first: readonly number[] = SPIN,
  backend: "kvm" | "xen-pvh" | "xen-hvm" = "kvm",
): Promise<Machine> {
  const vm = await open({
    backend,
    memory: 1 << 20,
    cpus,
    boot: flat(Uint8Array.from([...START_OTHERS, ...first]), { mode: "protected", at: 0x1000 }),
  });
  await vm.memory.write(gpa(OTHERS), Uint8Array.from(others));
  return vm;
}
