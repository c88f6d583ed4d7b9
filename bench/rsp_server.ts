/** A guest served to gdb until standard input ends: what the figures of the GDB server ask. BACKEND IMAGE. */

import { type BackendName, elf, MiB, open } from "../mod.ts";

const [backend, image] = Deno.args;
await using vm = await open({ backend: backend as BackendName, memory: MiB(32), boot: elf(image) });
await using server = await vm.gdbServer({ port: 0 });
console.log(server.address);
for await (const _ of Deno.stdin.readable);
