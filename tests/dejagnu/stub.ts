/** A guest behind a GDB stub for the board: `hvsh BACKEND IMAGE` or `qemu ACCELERATOR IMAGE`. Ends with its input. */
import { type BackendName, elf, MiB, open } from "../../mod.ts";

const [kind, how, image] = Deno.args;
if (kind === "hvsh") {
  await using vm = await open({ backend: how as BackendName, memory: MiB(64), boot: elf(image) });
  await using server = await vm.gdbServer({ port: 0 });
  console.log(`stub at ${server.address}`);
  for await (const _ of Deno.stdin.readable);
} else {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const child = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...["-accel", how, "-m", "64", "-nodefaults", "-no-user-config", "-display", "none", "-S"],
      ...["-device", "isa-debug-exit", "-gdb", `tcp:127.0.0.1:${port}`, "-kernel", image],
    ],
    stdin: "null",
  }).spawn();
  for (;;) {
    // A connection that is closed at once leaves the stub as it was.
    try {
      (await Deno.connect({ port })).close();
      break;
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionRefused)) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  console.log(`stub at 127.0.0.1:${port}`);
  for await (const _ of Deno.stdin.readable);
  child.kill("SIGKILL");
  await child.status;
}
