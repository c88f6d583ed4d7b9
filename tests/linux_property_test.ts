import { linuxHolds } from "./soak/linux.ts";

Deno.test("linux: damaged kernels are told of within bounds, or refused", async () => {
  await linuxHolds({ runs: 60, seed: 7 });
});
