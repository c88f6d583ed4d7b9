import { gdbHolds } from "./soak/gdb.ts";

Deno.test("gdb server: no packet makes it fail, hang, or leave a breakpoint behind", async () => {
  await gdbHolds({ runs: 5000, seed: 1 });
});
