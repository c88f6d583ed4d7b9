/**
 * Who writes an address? Watches a word of guest memory and shows each instruction that writes it.
 *
 *     deno run -A scripts/who_writes.ts
 */
import { elf, gva, open } from "../mod.ts";

const kernel = new URL("../fixtures/elf64.bin", import.meta.url);
await using vm = await open({ boot: elf(kernel) });
const total = vm.symbols.lookup("total");
if (total === undefined) throw new Error("the fixture has lost its symbol `total`");

await using watch = await vm.breakpoints.add(gva(total), { access: "write", size: 8 });
console.log(`watching total at 0x${total.toString(16)} by ${watch.how}`);
for (;;) {
  const stop = await vm.continue({ timeoutMs: 10_000 });
  if (stop.kind !== "watchpoint") break;
  const [writer] = await vm.disassemble(stop.rip, { count: 0, before: 1 });
  const value = await vm.vcpus[0].memory.readUint(gva(total), 8);
  console.log(`  ${vm.symbols.format(writer.address)}: ${writer.text}  ->  ${value}`);
}
