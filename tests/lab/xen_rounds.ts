/**
 * Attaching to a running Linux and letting it go, again and again, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_rounds.ts pvh|pv [ROUNDS]`; 500 rounds if left out.
 * Each round looks at registers and memory and steps the guest once. It has to go on, and nothing may be left of them: no
 * descriptor, mapping, pause, event channel port, page of the domain's, or node in xenstore.
 */
import assert from "node:assert/strict";
import { attach, domains, gva } from "../../mod.ts";
import { createPaused, destroy, xl } from "../../src/xen/xl.ts";
import { growth, holdings } from "../leaks.ts";
import { guestInitramfs } from "../linux/initramfs.ts";
import { linuxImage } from "./images.ts";
import { findKernel } from "./kernel.ts";

/** Answers each line of its console. */
const SCRIPT = `
echo READY
while read line; do echo "ANSWER $line"; done
`;
const LIMIT = { timeoutMs: 900_000 };
const NAME = "rounds";
/** What is loaded, bound or allocated once is, in these. */
const WARM_UP = 3;
const SAY_EACH = 50;
const LSEVTCHN = "/usr/lib/xen-4.17/bin/lsevtchn";

const [kind = "pvh", rounds = "500"] = Deno.args;
const kernel = findKernel();
const cache = new URL("../../.cache/lab", import.meta.url).pathname;
const files = [
  { key: "kernel", bytes: Deno.readFileSync(await linuxImage(kernel, cache)) },
  { key: "ramdisk", bytes: await guestInitramfs(kernel, [], SCRIPT) },
];
createPaused(NAME, [
  `type="${kind}"`,
  "memory=256",
  "vcpus=1",
  'cmdline="console=hvc0 nokaslr mitigations=off panic=-1 quiet"',
], files);
try {
  await run();
} finally {
  destroy(NAME);
}

async function run(): Promise<void> {
  xl("unpause", NAME);
  await answers("0", /READY/);
  say("Linux is in userspace");
  for (let i = 0; i < WARM_UP; i++) await round();
  const before = await state();
  const own = holdings();
  const start = performance.now();
  for (let i = 1; i <= Number(rounds); i++) {
    await round();
    if (i % SAY_EACH !== 0) continue;
    await answers(`${i}`);
    say(`${i} rounds, ${((performance.now() - start) / 1000).toFixed(0)} s`);
  }
  const grown = growth(own, holdings());
  assert.deepEqual(await state(), before);
  assert.deepEqual([grown.fds, grown.maps], [[], []]);
  // V8's own come and go.
  assert.ok(grown.mapCount < Number(rounds) / 10 + 50, `${grown.mapCount} mappings more`);
  await answers("last");
  say(
    `${rounds} rounds: ${JSON.stringify(before)} before and after, ${grown.mapCount} anonymous mappings more`,
  );
}

async function round(): Promise<void> {
  await using vm = await attach({ backend: "xen", domain: NAME });
  assert.deepEqual(vm.notices, []);
  const { rip } = await vm.vcpus[0].registers();
  assert.equal((await vm.vcpus[0].memory.read(gva(rip), 8)).length, 8);
  const stop = await vm.step();
  assert.ok(["step", "timeout"].includes(stop.kind), `${stop.kind} at 0x${stop.rip.toString(16)}`);
}

/** Whether the guest answers on its console, to which hvsh is attached for that while the guest runs. */
async function answers(word: string, ready?: RegExp): Promise<void> {
  await using vm = await attach({ backend: "xen", domain: NAME });
  const running = vm.continue(LIMIT);
  const over = running.then((stop) =>
    assert.fail(`${stop.kind} at 0x${stop.rip.toString(16)}: ${vm.console.text.slice(-400)}`)
  );
  // Lost when the guest is paused, once all is well.
  over.catch(() => {});
  if (ready !== undefined) await Promise.race([vm.console.expect(ready, LIMIT), over]);
  await vm.console.send(`${word}\n`);
  await Promise.race([vm.console.expect(new RegExp(`ANSWER ${word}`), LIMIT), over]);
  await vm.pause();
  await running;
}

/** What must be as it was. */
async function state() {
  const [domain, ...more] = (await domains()).filter(({ name }) => name === NAME);
  assert.deepEqual(more, []);
  const lines = (command: string, ...args: string[]) => {
    const { success, stdout, stderr } = new Deno.Command(command, { args }).outputSync();
    assert.ok(success, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).trim().split("\n");
  };
  // Of this domain alone: others may come and go meanwhile.
  const id = `${domain.id}`;
  return {
    paused: domain.state === "paused",
    memory: domain.memory,
    guestPorts: lines(LSEVTCHN, id).length,
    hostPorts: lines(LSEVTCHN, "0").filter((line) => new RegExp(`Domain ${id}\\b`).test(line)).length,
    xenstore:
      lines("xenstore-ls", "-f").filter((line) => line.split(" = ")[0].split("/").includes(id)).length,
    journals: [...Deno.readDirSync("/run/hvsh-attached")].filter(({ name }) => name.split(".")[0] === id)
      .length,
  };
}

function say(what: string): void {
  console.log(`ok ${kind}: ${what}`);
}
