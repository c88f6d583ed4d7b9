/** A virtio disk read by fio in a guest with Debian's kernel, beside QEMU's. */
import { type Device, MiB, virtioDisk } from "../../mod.ts";
import { type Effort, type Figure, type Measured, Obstacle } from "../figure.ts";
import { inTurn } from "./pair.ts";

const SIZE = MiB(256);
const SECONDS = 3;
/** Requests that are under way at the same time: the worse of both is the figure. */
const DEPTHS = [1, 32];
/** fio's terse output, version 3: the job's error, and the read requests a second. */
const FIELDS = { error: 5, iops: 8 };

/** Small reads from anywhere. */
export const blkRand: Figure = figure("blk-rand", "4 KiB random", "4k", "randread", 0.7);
/** Large reads one behind the other. */
export const blkSeq: Figure = figure("blk-seq", "1 MiB sequential", "1m", "read", 0.8);

function figure(name: string, what: string, bytes: string, pattern: string, goal: number): Figure {
  return {
    name,
    what:
      `${what} reads by fio in Debian's kernel, iodepth 1 and 32; QEMU -accel kvm -M microvm, virtio-blk, cache=writeback`,
    goal,
    better: "higher",
    unit: "reads/s",
    needs: ["kvm"],
    measure: (effort) => reads(effort, bytes, pattern),
  };
}

async function reads({ rounds }: Effort, bytes: string, pattern: string): Promise<Measured> {
  const folder = await Deno.makeTempDir();
  try {
    const disk = `${folder}/disk.img`;
    await Deno.writeFile(disk, noise(SIZE));
    return await inTurn(rounds, {
      packages: ["fio"],
      modules: [],
      devices: (): Device[] => [virtioDisk(disk, { mode: "read-only" })],
      qemu: [
        ...["-drive", `if=none,id=disk,file=${disk},format=raw,cache=writeback,readonly=on`],
        ...["-device", "virtio-blk-device,drive=disk"],
      ],
      cases: DEPTHS.map((depth) => ({
        name: `iodepth ${depth}`,
        measure: async (guest) => {
          const said = await guest.ask([
            "fio --name=read --filename=/dev/vdb --readonly --direct=1 --ioengine=libaio --thread",
            `--rw=${pattern} --bs=${bytes} --iodepth=${depth} --time_based --runtime=${SECONDS}`,
            "--output-format=terse --terse-version=3",
          ].join(" "));
          const fields = /^3;.*$/m.exec(said)?.[0].split(";") ?? [];
          const iops = Number(fields[FIELDS.iops - 1]);
          if (fields[FIELDS.error - 1] !== "0" || !(iops > 0)) {
            throw new Obstacle(`fio says ${said.slice(-500)}`, "run it by hand and see");
          }
          return iops;
        },
      })),
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Bytes that no store takes for zeros. */
function noise(length: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  for (let i = 0, x = 1; i < words.length; i++) words[i] = x = Math.imul(x, 1_664_525) + 1_013_904_223;
  return new Uint8Array(words.buffer);
}
