/** Places where a replay of QEMU's stops for good, run over. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { QEMU_HOST } from "../src/dsl/qemu.ts";
import { hosts } from "../mod.ts";
import { openQemu } from "../src/remote/qemu/open_qemu.ts";
import type { QemuReplay } from "../src/remote/qemu/replay.ts";

const qemu = (await hosts()).find((host) => host.backend === "qemu");
const ignore = qemu?.usable !== true;
if (qemu?.usable === false) console.log(`skipped: replays: ${qemu.reason}`);

const ROM_BYTES = 64 * 1024;
const WATCHED = 0x2000n;

/** At the reset vector jmp f000:0; there inc word [0x2000], three times; nop; mov ax, [0x2000]; nop; hlt. */
function firmware(): Uint8Array {
  const rom = new Uint8Array(ROM_BYTES);
  rom.set(Uint8Array.fromHex("ff060020".repeat(3) + "90a1002090f4"));
  rom.set(Uint8Array.fromHex("ea000000f0"), ROM_BYTES - 16);
  return rom;
}

/** Opens it for recording, or a replay of that. */
const start = (more: { record: string } | { replay: string }) =>
  openQemu({
    memory: 1 << 20,
    cpus: 1,
    irqchip: true,
    pit: true,
    roms: [{ name: "firmware", at: BigInt(0x10_0000 - ROM_BYTES), bytes: firmware() }],
    ...more,
  }, QEMU_HOST);

/** Records it to its HLT, by steps, and opens the replay. */
async function replayed(body: (replay: Awaited<ReturnType<typeof start>>) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const recording = await start({ record: folder });
    for (const ip of [0x0n, 0x4n, 0x8n, 0xcn, 0xdn, 0x10n, 0x11n]) {
      while ((await recording.vcpus[0].step()).kind === "slice");
      assert.equal(recording.vcpus[0].rip, ip);
    }
    await recording.close();
    const replay = await start({ replay: folder });
    try {
      await replay.ready?.();
      await body(replay);
    } finally {
      await replay.close();
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Where the guest stands before an instruction that touches what is watched, by the access. */
const TOUCHES = { write: [1, 2, 3], access: [1, 2, 3, 5] } as const;

for (const access of ["write", "access"] as const) {
  Deno.test({
    name: `replay: an instruction that is run over is seen by watchpoints (${access}), others are not`,
    ignore,
    fn: () =>
      replayed(async (backend) => {
        const replay = backend.history as QemuReplay;
        backend.vcpus[0].setTraps({ hardware: [{ address: WATCHED, size: 2, access }], int3: false });
        const seen: number[] = [];
        for (let at = 0; at < replay.end; at++) {
          if (replay.position !== at) await replay.seek(at, () => true);
          if (await replay.pass() !== undefined) seen.push(at);
          assert.equal(replay.position, at + 1);
        }
        assert.deepEqual(seen, [...TOUCHES[access]]);
      }),
  });
}
