/** What hvsh finds out about KVM, against a C program that tries the same by itself: on this host, and in the KVM lab. */
import "../../src/host/preload.ts";
import assert from "node:assert/strict";
import { hosts, open } from "../../mod.ts";
import { type Lab } from "../lab/lab.ts";
import { sharedLab } from "../lab/shared.ts";

const SOURCE = new URL("oracle.c", import.meta.url).pathname;
const ROOT = new URL("../..", import.meta.url).pathname;

/** Names that the C program knows; fewer lines than that mean that it stopped half-way. */
const LEAST = 17;

/** `name=yes` lines to a record. */
function answers(text: string): Record<string, string> {
  return Object.fromEntries(text.trim().split("\n").map((line) => line.split("=")));
}

/** What `vm.capabilities` says of the names that the oracle answered. */
async function ours(names: string[]): Promise<Record<string, string>> {
  await using vm = await open({ backend: "kvm", memory: 1 << 20 });
  const word = (name: string) => {
    const capability = vm.capabilities.get(name);
    return capability === undefined ? "never looked" : capability.usable ? "yes" : "no";
  };
  return Object.fromEntries(names.map((name) => [name, word(name)]));
}

/** Builds the oracle. @returns Why it can't be, or undefined. */
function build(to: string): string | undefined {
  try {
    const { success, stderr } = new Deno.Command("cc", { args: ["-O1", "-Wall", "-o", to, SOURCE] })
      .outputSync();
    return success ? undefined : new TextDecoder().decode(stderr);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return "there is no C compiler";
  }
}

const program = `${ROOT}/build/oracle`;
Deno.mkdirSync(`${ROOT}/build`, { recursive: true });
const missing = build(program);
const kvm = (await hosts()).find(({ backend }) => backend === "kvm");
const reason = missing ?? (kvm?.usable ? undefined : kvm?.reason);
if (reason !== undefined) console.log(`capabilities against C on this host are skipped: ${reason}`);

Deno.test({
  name: "this host's capabilities are those that a C program finds",
  ignore: reason !== undefined,
  async fn() {
    const { stdout, code } = await new Deno.Command(program).output();
    const seen = answers(new TextDecoder().decode(stdout));
    assert.equal(code, 0);
    assert.ok(Object.keys(seen).length >= LEAST);
    assert.deepEqual(await ours(Object.keys(seen)), seen);
  },
});

const lab = sharedLab("kvm");

/** The rows of the self-test that say what hvsh found in the lab. */
const PRINT_OURS = `
  import { open } from "./mod.ts";
  await using vm = await open({ backend: "kvm", memory: 1 << 20 });
  for (const [name, { usable }] of vm.capabilities) console.log(name + "=" + (usable ? "yes" : "no"));`;

async function inLab(lab: Lab, argv: string[]): Promise<Record<string, string>> {
  const { stdout, stderr, code } = await lab.output(argv, { cwd: ROOT, timeoutMs: 120_000 });
  assert.equal(code, 0, stderr);
  return answers(stdout);
}

Deno.test({
  name: "the capabilities of kvm_amd in the KVM lab are those that a C program finds there",
  ignore: lab.ignore || missing !== undefined,
  async fn() {
    const place = await lab.get();
    const seen = await inLab(place, [program]);
    assert.ok(Object.keys(seen).length >= LEAST);
    // What TCG's SVM is known for (docs/labs.md): had the oracle not found it, it would be none.
    assert.equal(seen["breakpoint-hardware"], "no");
    assert.equal(seen["single-step"], "yes");
    const found = await inLab(place, ["deno", "eval", "--quiet", "--ext=ts", PRINT_OURS]);
    assert.deepEqual(Object.fromEntries(Object.keys(seen).map((name) => [name, found[name]])), seen);
  },
});
