/**
 * Breaks in SeaBIOS where it writes its first POST code or CMOS register, shows the code, steps through it.
 *
 *     deno run -A scripts/break_and_step.ts [BIOS.bin [BACKEND]]     ("fake" where there is no /dev/kvm)
 */
import { type BackendName, firmware, gva, MiB, open } from "../mod.ts";

const image = Deno.args[0] ?? "/usr/share/seabios/bios.bin";
const backend = Deno.args[1] as BackendName | undefined;
await using vm = await open({ memory: MiB(64), boot: firmware(image), ...(backend && { backend }) });
vm.require("devices"); // else no access comes to hvsh
const [cpu] = vm.vcpus;

/** Where the next instruction lies: CS.base + IP outside long mode. */
async function here(): Promise<bigint> {
  const { cs_base, rip } = await cpu.registers();
  return cs_base + rip;
}

async function show(count: number): Promise<void> {
  for (const { address, text } of await vm.disassemble(await here(), { count })) {
    console.log(`  0x${address.toString(16).padStart(8, "0")}  ${text}`);
  }
}

console.log("the reset vector:");
await show(1);

const cmos = await vm.breakpoints.onAccess({ space: "port", start: 0x70, length: 2, once: true });
const stop = await vm.continue({ timeoutMs: 10_000 });
if (stop.kind !== "access") throw new Error(`expected a port access, got ${stop.kind}`);
console.log(
  `first CMOS access: port 0x${stop.address.toString(16)}, ${stop.write ? "write" : "read"}; behind it:`,
);
await show(3);
await cmos.remove();

const next = (await vm.disassemble(await here(), { count: 4 }))[3].address;
await using bp = await vm.breakpoints.add(gva(next));
const hit = await vm.continue({ timeoutMs: 10_000 });
console.log(`${hit.kind} by ${bp.how}, ${bp.hits} hit; five steps from there:`);
for (let i = 0; i < 5; i++) {
  await show(1);
  await vm.step();
}
