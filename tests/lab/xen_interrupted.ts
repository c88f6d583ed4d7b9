/**
 * Ctrl-C in the middle of what a script does with domains, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_interrupted.ts [open|probe|attach|looking ...]`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import { attach, domains, gpa, inspectDomain } from "../../mod.ts";
import { ENTRY } from "../../src/xen/tiny_guest.ts";
import { xl } from "../../src/xen/xl.ts";
import { IMAGE, LOOP, pvhImage, runs, withDomain } from "./xen_attach.ts";
import { journals, program } from "./xen_leaving.ts";

const NOTES = "/run/hvsh-domains";
const PVH = () => ['type="pvh"', `kernel="${pvhImage()}"`, "memory=16", "vcpus=1"];

/** Stands in for xl: whoever has a domain made is sent the signal when xl begins with it. */
const XL = `#!/bin/sh
[ "$1" = create ] && kill -INT $PPID
PATH=\${PATH#*:} exec xl "$@"
`;

/** What a script is at, over and over, once it has attached. */
const WORK = {
  "a search through memory":
    "endless(() => vm.memory.search(Uint8Array.of(1, 2, 3, 4, 5), { from: gpa(0n), to: gpa(16n << 20n) }));",
  "a million steps": "void vm.step(1_000_000);",
  "devices that come and go": `endless(async () => {
    await vm.devices.add({ name: "here", ports: { start: 0x777, length: 1 }, read: () => {}, write: () => {} })
      .then((device) => device.remove());
    await new Promise((resolve) => setTimeout(resolve));
  });`,
};

const say = (what: string) => console.log(`ok ${what}`);

const PARTS: Record<string, () => Promise<void>> = {
  open: opening,
  probe: () => withDomain("interrupt-probe", PVH(), probing),
  attach: () => withDomain("interrupt-attach", PVH(), attaching),
  looking: () => withDomain("interrupt-work", PVH(), working),
};

if (import.meta.main) {
  for (const part of Deno.args.length > 0 ? Deno.args : Object.keys(PARTS)) await PARTS[part]();
  say("all of it");
}

/** While xl makes the domain: it is made to its end, and ended. */
async function opening(): Promise<void> {
  const pv = `elf(${JSON.stringify(IMAGE)})`;
  for (const [backend, boot] of [["xen-pvh", "flat(Uint8Array.of(0xeb, 0xfe))"], ["xen-pv", pv]]) {
    await leavesNothing(`await open({ backend: "${backend}", memory: 16 << 20, boot: ${boot} });`);
    say(`Ctrl-C while xl makes a domain for ${backend}: nothing of it is left`);
  }
}

/** While the probe's guest is made, for the first breakpoint in a domain of others. */
async function probing(name: string): Promise<void> {
  xl("unpause", name);
  await leavesNothing(`const vm = await attach({ backend: "xen", domain: "${name}" });
    await vm.breakpoints.add(gva(${ENTRY}n));`);
  await asItWas(name);
  say("Ctrl-C while the probe's guest is made: nothing of it is left, and the domain goes on");
}

/** Runs a program that has a domain made, and is sent the signal as xl begins with it. */
async function leavesNothing(body: string): Promise<void> {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${folder}/xl`, XL, { mode: 0o755 });
    const left = async () => [
      (await domains()).filter(({ name }) => name.startsWith("hvsh-")).map(({ name }) => name),
      journals(NOTES),
    ];
    const before = await left();
    await program(body, "SIGINT", { PATH: `${folder}:${Deno.env.get("PATH")}` });
    assert.deepEqual(await left(), before);
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/** While a script attaches and lets go, at one moment and another. */
async function attaching(name: string): Promise<void> {
  xl("unpause", name);
  for (const ms of [400, 650]) {
    await program(
      `setTimeout(() => console.log("ready"), ${ms});
      for (;;) {
        const vm = await attach({ backend: "xen", domain: "${name}" });
        await vm.close();
        await new Promise((resolve) => setTimeout(resolve));
      }`,
      "SIGINT",
    );
    await asItWas(name);
  }
  say("Ctrl-C while it is attached to and let go: it goes on, and nothing is written down");
}

/** While something takes its time. */
async function working(name: string): Promise<void> {
  xl("unpause", name);
  const channels = async () => (await inspectDomain(name)).channels.length;
  const before = await channels();
  for (const [what, body] of Object.entries(WORK)) {
    await program(`const vm = await attach({ backend: "xen", domain: "${name}" });\n${body}`, "SIGINT");
    await asItWas(name);
    assert.equal(await channels(), before, what);
    say(`Ctrl-C in ${what}: it goes on, and has the event channels it had`);
  }
}

async function asItWas(name: string): Promise<void> {
  await runs(name);
  const { id } = await inspectDomain(name);
  assert.deepEqual(journals().filter((file) => file.startsWith(`${id}.`)), []);
  await using vm = await attach({ backend: "xen", domain: name });
  assert.deepEqual(vm.notices, []);
  assert.deepEqual([...await vm.memory.read(gpa(ENTRY), LOOP.length)], LOOP);
}
