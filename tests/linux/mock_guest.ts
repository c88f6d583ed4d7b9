/** A machine with a mock kernel in its memory, for tests. */
import { flat, type GuestMachine, open } from "../../src/dsl/mod.ts";
import { MOCK_BYTES, type MockKernel } from "../../src/linux/mock_kernel.ts";

/** Below lies what a PC has besides RAM; the kernel is above. */
const RAM_FROM = 1 << 20;

/** Opens a guest whose vCPU stands in the kernel's function `inner`, with its page tables. */
export async function mockGuest(kernel: MockKernel): Promise<GuestMachine> {
  const vm = await open({ backend: "fake", memory: MOCK_BYTES, boot: flat(Uint8Array.of(0xf4)) });
  await vm.memory.write(BigInt(RAM_FROM), kernel.bytes.subarray(RAM_FROM));
  await vm.vcpus[0].setRegisters({
    cr0: 0x8005_0033n,
    cr3: kernel.cr3,
    cr4: 0x20n,
    efer: 0xd01n,
    cs: 0x10n,
    cs_base: 0n,
    cs_attributes: 0xa09bn,
    ss: 0x18n,
    ss_base: 0n,
    ss_attributes: 0xc093n,
    gs_base: 0n,
    ...kernel.registers,
  });
  return vm;
}
