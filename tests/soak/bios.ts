/**
 * SeaBIOS from the reset vector on KVM and in QEMU, in lock step: `hvsh diff --backends kvm,qemu` finds them the same, or
 * names an instruction at which they are not. `deno run -A tests/soak/bios.ts [INSTRUCTIONS]` compares 1,000,000.
 */
import assert from "node:assert/strict";
import { hosts } from "../../src/dsl/mod.ts";

const SHELL = new URL("../../src/repl/main.ts", import.meta.url).pathname;
/** Debian's package seabios. */
const ROM = "/usr/share/seabios/bios.bin";

/** Why it can't be tried here; undefined if it can. */
export async function whyNoBios(): Promise<string | undefined> {
  const wanted = (await hosts()).filter(({ backend }) => backend === "kvm" || backend === "qemu");
  const missing = wanted.find(({ usable }) => !usable);
  if (missing !== undefined) return `${missing.backend}: ${missing.usable ? "" : missing.reason}`;
  return await Deno.stat(ROM).then(() => undefined, () => `there is no ${ROM}`);
}

/** Compares `runs` instructions. */
export async function biosHolds({ runs }: { runs: number }): Promise<void> {
  const reason = await whyNoBios();
  if (reason !== undefined) return console.log(`skipped: SeaBIOS in lock step: ${reason}`);
  const args = ["diff", "--backends", "kvm,qemu", "-bios", ROM, "-m", "64", "--count", `${runs}`];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", SHELL, ...args],
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  const output = text.decode(stdout) + text.decode(stderr);
  if (code === 0) return assert.match(output, new RegExp(`^${runs} instructions are the same`), output);
  // Hosts differ: then it is told where, and what each side says.
  assert.match(
    output,
    /^\d+ instructions are the same[^]*^=> 0x[0-9a-f]+: .+\n {3}.+\(kvm\), .+\(qemu\)/m,
    output,
  );
  console.log(output);
}

if (import.meta.main) {
  const [runs = 1_000_000] = Deno.args.map(Number);
  await biosHolds({ runs });
  console.log(`SeaBIOS: ${runs} instructions compared`);
}
