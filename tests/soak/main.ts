/**
 * `deno task soak [RUNS [SEED]]`: the property tests with 100,000 cases each, 1,000,000 packets for the GDB server, 1,000
 * stops of 8 vCPUs, and SeaBIOS for 1,000,000 instructions on KVM beside QEMU.
 * A part of them, with a fixed seed, runs in `deno task test`.
 */
import { biosHolds } from "./bios.ts";
import { devicesHold } from "./devices.ts";
import { gdbHolds } from "./gdb.ts";
import { lexerHolds } from "./lexer.ts";
import { linuxHolds } from "./linux.ts";
import { loadersHold } from "./loaders.ts";
import { vcpusHold } from "./vcpus.ts";
import { virtioSoak } from "./virtio.ts";

/** Each suite, and how many times as many cases as was asked for it tries: a packet is a small case, a stop a large one. */
const SUITES = {
  lexer: { holds: lexerHolds, times: 1 },
  loaders: { holds: loadersHold, times: 1 },
  linux: { holds: linuxHolds, times: 1 },
  virtio: { holds: virtioSoak, times: 1 },
  devices: { holds: devicesHold, times: 1 },
  gdb: { holds: gdbHolds, times: 10 },
  vcpus: { holds: vcpusHold, times: 0.01 },
  bios: { holds: biosHolds, times: 10 },
};

const [runs = 100_000, seed = Date.now() & 0x7fff_ffff] = Deno.args.map(Number);
if (!Number.isInteger(runs) || runs < 1 || !Number.isInteger(seed)) {
  console.error("usage: deno task soak [RUNS [SEED]]");
  Deno.exit(2);
}
for (const [name, { holds, times }] of Object.entries(SUITES)) {
  console.log(`${name}: ${Math.ceil(runs * times)} cases of each property, seed ${seed}`);
  const start = performance.now();
  await holds({ runs: Math.ceil(runs * times), seed });
  const seconds = Math.round((performance.now() - start) / 1000);
  console.log(`${name}: held, ${seconds} s, ${Math.round(Deno.memoryUsage().rss / 2 ** 20)} MiB resident`);
}
