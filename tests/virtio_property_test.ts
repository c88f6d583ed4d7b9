/** Hostile virtio drivers, a part of the soak with a fixed seed. */
import { TRANSPORTS, virtioHolds } from "./soak/virtio.ts";
import { SUBJECTS } from "./soak/virtio_subjects.ts";

for (const only of Object.keys(SUBJECTS)) {
  for (const transport of ["mmio", "pci"] as const satisfies (keyof typeof TRANSPORTS)[]) {
    Deno.test(`virtio ${only}: stands hostile drivers over ${transport}, on either ring kind`, () => {
      virtioHolds({ runs: 400, seed: 20261126, only, transport });
    });
  }
}
