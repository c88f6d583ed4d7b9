/** Hostile virtio drivers, a part of the soak with a fixed seed. */
import { virtioHolds } from "./soak/virtio.ts";
import { SUBJECTS } from "./soak/virtio_subjects.ts";

for (const only of Object.keys(SUBJECTS)) {
  Deno.test(`virtio ${only}: stands hostile drivers, on either ring kind`, () => {
    virtioHolds({ runs: 400, seed: 20261126, only });
  });
}
