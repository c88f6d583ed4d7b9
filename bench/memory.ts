/** Guest memory read and searched, against the C library. */

import { flat, gpa, MiB, open } from "../mod.ts";
import { type Effort, type Figure, type Measured, rates, type Side } from "./figure.ts";
import { COUNTED } from "./guest.ts";
import { hex, Twin } from "./twin.ts";

const SIZE = MiB(64);
const SEED = 0x2545_f491;
/** Sixteen bytes that the pseudo-random ones don't hold by chance. */
const PATTERN = new TextEncoder().encode("the needle, here");
const GIB = 2 ** 30;

/** The figure for reading into a buffer that is there. */
export const copy: Figure = {
  name: "copy",
  what: "64 MiB by vm.memory.readInto(); C: memcpy",
  goal: 0.9,
  better: "higher",
  unit: "GiB/s",
  needs: ["kvm", "cc"],
  measure: (effort) => bytes("copy", effort),
};

/** The figure for searching: what is looked for lies at the end. */
export const search: Figure = {
  name: "search",
  what: "64 MiB by vm.memory.search(), found at the end; C: memmem",
  goal: 0.8,
  better: "higher",
  unit: "GiB/s",
  needs: ["kvm", "cc"],
  measure: (effort) => bytes("search", effort),
};

async function bytes(what: "copy" | "search", effort: Effort): Promise<Measured> {
  await using vm = await open({ backend: "kvm", memory: SIZE, boot: flat(COUNTED) });
  await vm.memory.write(gpa(0), contents());
  const into = new Uint8Array(SIZE).fill(1);
  const ours: Side = async (count) => {
    const start = performance.now();
    for (let i = 0; i < count; i++) {
      if (what === "copy") await vm.memory.readInto(gpa(0), into);
      else await found(await vm.memory.search(PATTERN));
    }
    return (performance.now() - start) * 1e6;
  };
  const settings = { what, memory: SIZE, seed: SEED, pattern: hex(PATTERN) };
  await using twin = await Twin.start("memory", settings);
  return await rates(ours, twin.run, effort, SIZE / GIB);
}

function found(places: readonly bigint[]): void {
  if (places.length !== 1 || places[0] !== BigInt(SIZE - PATTERN.length)) {
    throw new Error(`the pattern was found at [${places.join(", ")}]`);
  }
}

/** xorshift32, little-endian, with the pattern at the end: the twin makes the same bytes. */
function contents(): Uint8Array {
  const words = new Uint32Array(SIZE / 4);
  let x = SEED;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  const made = new Uint8Array(words.buffer);
  made.set(PATTERN, SIZE - PATTERN.length);
  return made;
}
