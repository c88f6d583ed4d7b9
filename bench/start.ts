/** How long the shell takes from its start to its end, as whole processes, against an empty program. */

import { fileURLToPath } from "node:url";
import { type Effort, type Figure, type Measured, Obstacle, summary } from "./figure.ts";

const SHELL = fileURLToPath(new URL("../src/repl/main.ts", import.meta.url));
const EMPTY = fileURLToPath(new URL("./empty.ts", import.meta.url));
/** What `deno task hvsh` runs with. */
const FLAGS = ["run", "-A", "--no-check"];

/** The figure without a guest. */
export const start: Figure = {
  name: "start",
  what: "hvsh -c quit; beside it an empty Deno program, whole processes",
  goal: 5,
  better: "lower",
  unit: "ms",
  needs: [],
  measure: (effort) => processes(["--norc", "-c", "quit"], effort),
};

/** The figure with a guest on KVM, paused at its first instruction. */
export const startOpen: Figure = {
  name: "start-open",
  what: "hvsh with a guest on KVM, -c quit; beside it an empty Deno program, whole processes",
  goal: 6,
  better: "lower",
  unit: "ms",
  needs: ["kvm"],
  async measure(effort) {
    const image = await Deno.makeTempFile({ suffix: ".bin" });
    try {
      await Deno.writeFile(image, Uint8Array.of(0xfa, 0xf4));
      const guest = ["--backend", "kvm", "--flat", `${image},at=0x1000`, "-m", "64"];
      return await processes(["--norc", ...guest, "-c", "quit"], effort);
    } finally {
      await Deno.remove(image);
    }
  },
};

async function processes(args: readonly string[], { rounds }: Effort): Promise<Measured> {
  await once([EMPTY]);
  await once([SHELL, ...args]);
  const measured: { ours: number; theirs: number }[] = [];
  for (let i = 0; i < rounds; i++) {
    measured.push({ ours: await once([SHELL, ...args]), theirs: await once([EMPTY]) });
  }
  return summary(measured);
}

/** Milliseconds from start to end of one process. */
async function once(args: readonly string[]): Promise<number> {
  const began = performance.now();
  const command = new Deno.Command(Deno.execPath(), {
    args: [...FLAGS, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  });
  const { code, stderr } = await command.output();
  if (code !== 0) {
    throw new Obstacle(
      `deno ${args.join(" ")} ended with ${code}: ${new TextDecoder().decode(stderr).trim()}`,
      "run it by hand and see",
    );
  }
  return performance.now() - began;
}
