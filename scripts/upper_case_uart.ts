/**
 * Replaces the serial port of a running guest by one that prints in upper case, and puts it back.
 *
 *   deno run -A scripts/upper_case_uart.ts [BACKEND]     ("fake" where there is no /dev/kvm)
 */
import { flat, open, Uart16550 } from "../mod.ts";

// In real mode: print "abc " on COM1 again and again.
const text = [0x61, 0x62, 0x63, 0x20].flatMap((c) => [0xb0, c, 0xee]);
const code = Uint8Array.of(0xba, 0xf8, 0x03, ...text, 0xeb, 256 - text.length - 2);
const backend = Deno.args[0] as "kvm" | "fake" | undefined;
await using vm = await open({ boot: flat(code), ...(backend && { backend }) });
vm.require("devices"); // QEMU has its own

const running = vm.continue({ timeoutMs: 30_000 });
await vm.console.expect("abc abc");

const old = vm.devices.get("uart0")!.device;
const { console: end } = vm.ends;
const loud = new Uart16550({
  name: "uart0",
  base: 0x3f8,
  irq: 4,
  time: vm.clock,
  sink: (bytes) => end.print(bytes.map((b) => b >= 0x61 && b <= 0x7a ? b - 0x20 : b)),
});
await vm.devices.swap(loud); // registers and queues go over
end.connect((bytes) => loud.receive(bytes));
console.log("now", (await vm.console.expect(/ABC ABC/))[0]);

await vm.devices.swap(old);
console.log("then", (await vm.console.expect(/abc abc/))[0]);
await vm.pause();
await running;
