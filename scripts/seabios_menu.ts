/**
 * Runs SeaBIOS from the reset vector to its boot menu and counts what it asked of the machine's ports.
 *
 *     deno run -A scripts/seabios_menu.ts [BIOS.bin [BACKEND]]     ("fake" where there is no /dev/kvm)
 */
import { type BackendName, firmware, MiB, open } from "../mod.ts";

const image = Deno.args[0] ?? "/usr/share/seabios/bios.bin";
const backend = Deno.args[1] as BackendName | undefined;
await using vm = await open({ memory: MiB(64), boot: firmware(image), ...(backend && { backend }) });
vm.require("devices"); // else no access comes to hvsh

const running = vm.continue({ timeoutMs: 60_000 });
await vm.console.expect(/Press ESC for boot menu/, { timeoutMs: 60_000 });
await vm.console.send("\x1b");
await vm.console.expect(/Select boot device/);
await vm.pause();
const stop = await running;

console.log(`stopped: ${stop.kind}, rip 0x${stop.rip.toString(16)}`);
const { total, addresses } = vm.trace.statistics();
console.log(`${total} exits; the ten busiest ports:`);
for (const { address, reads, writes, device } of addresses.slice(0, 10)) {
  const port = `0x${address.toString(16)}`.padStart(7);
  console.log(
    `${port}  ${String(reads).padStart(6)} reads ${String(writes).padStart(6)} writes  ${device ?? "nobody"}`,
  );
}
