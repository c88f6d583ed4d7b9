/**
 * Records every access of SeaBIOS's start and writes it as a trace for https://ui.perfetto.dev.
 *
 *     deno run -A scripts/perfetto_trace.ts [OUT.json [BIOS.bin [BACKEND]]]     ("fake" where there is no /dev/kvm)
 */
import { type BackendName, firmware, MiB, open } from "../mod.ts";

const out = Deno.args[0] ?? "hvsh-trace.json";
const image = Deno.args[1] ?? "/usr/share/seabios/bios.bin";
const backend = Deno.args[2] as BackendName | undefined;
await using vm = await open({ memory: MiB(64), boot: firmware(image), ...(backend && { backend }) });
vm.require("devices"); // else no access comes to hvsh
const running = vm.continue({ timeoutMs: 60_000 });
await vm.console.expect(/Press ESC/, { timeoutMs: 60_000 });
await vm.pause();
await running;

await Deno.writeTextFile(out, vm.trace.toPerfetto());
console.log(`${vm.trace.entries().length} accesses in ${out}`);
