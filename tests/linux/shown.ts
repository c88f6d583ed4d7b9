import type { GuestMachine, Stop } from "../../mod.ts";

/**
 * Waits until the console of a guest that runs shows something.
 *
 * @param running What its continue() gives.
 * @throws {Error} If the guest stops instead, with the stop and the console's last lines.
 */
export async function shown(
  vm: GuestMachine,
  running: Promise<Stop>,
  pattern: RegExp | string,
  limit: { readonly timeoutMs: number },
): Promise<RegExpMatchArray> {
  const ended = running.then(async (stop) => {
    const told = "reason" in stop ? `${stop.kind} (${stop.reason})` : stop.kind;
    const each = await Promise.all(vm.vcpus.map(async (vcpu) => {
      const { rip, rflags } = await vcpu.registers();
      return `0x${rip.toString(16)} with rflags 0x${rflags.toString(16)}`;
    }));
    throw new Error(
      `the guest stopped by ${told} at ${each.join(" and ")} before it showed ${pattern}:\n${
        vm.console.text.slice(-2000)
      }`,
    );
  });
  return await Promise.race([vm.console.expect(pattern, limit), ended]);
}
