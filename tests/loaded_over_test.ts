/** Breakpoints in code that the guest has yet to load, by string instructions from a port, as firmware loads from a CD. */
import assert from "node:assert/strict";
import "../src/host/preload.ts";
import { flat, gpa, gva, hosts, MiB, open } from "../mod.ts";

const CODE = 0x1000;
const TARGET = 0x1020;
const PORT = 0x700;

/** mov di, TARGET; mov dx, PORT; mov cx, 2; cld; rep insb; in al, dx; jmp to the target: STC when it is loaded. */
const LOADER = Uint8Array.of(
  ...[0xbf, TARGET & 0xff, TARGET >> 8, 0xba, PORT & 0xff, PORT >> 8, 0xb9, 2, 0, 0xfc, 0xf3, 0x6c, 0xec],
  ...[0xeb, TARGET - CODE - 15],
);
/** stc; hlt */
const LOADED = [0xf9, 0xf4];

for (const backend of ["fake", "kvm"] as const) {
  const host = (await hosts()).find((h) => h.backend === backend);
  if (!host?.usable) console.log(`skipped: code loaded over breakpoints on ${backend}: ${host?.reason}`);
  Deno.test({
    name: `breakpoint on ${backend}: what is loaded over it from a port is run behind a stop there`,
    ignore: !host?.usable,
    async fn() {
      let next = 0;
      await using vm = await open({
        backend,
        memory: MiB(1),
        boot: flat(LOADER, { at: CODE }),
        devices: [{
          name: "disk",
          ports: { start: PORT, length: 1 },
          read: (_offset: number, data: Uint8Array) => data.fill(LOADED[next++] ?? 0),
        }],
      });
      await vm.breakpoints.add(gva(TARGET), { kind: "software" });
      const stop = await vm.continue({ timeoutMs: 10_000 });
      assert.equal(stop.kind, "breakpoint");
      assert.equal(stop.rip, BigInt(TARGET));
      assert.deepEqual(await vm.memory.read(gpa(TARGET), 2), Uint8Array.of(...LOADED));
      const after = await vm.step();
      assert.equal(after.registers.rflags & 1n, 1n, "what was loaded is run");
    },
  });
}
