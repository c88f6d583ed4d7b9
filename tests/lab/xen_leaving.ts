/**
 * What programs leave of a domain when a signal ends them in the middle of everything, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_leaving.ts [pvh|pv|hvm|own|journal ...]`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import { attach, cleanDomains, domains, gpa, gva, repairDomains } from "../../mod.ts";
import { ENTRY } from "../../src/xen/tiny_guest.ts";
import { xl } from "../../src/xen/xl.ts";
import {
  IMAGE,
  JUMP,
  LOOP,
  pvhImage,
  runs,
  STORE,
  symbol,
  traces,
  untilItLoops,
  withDomain,
} from "./xen_attach.ts";

const JOURNALS = "/run/hvsh-attached";
/** What a program is in the middle of when the signal comes. */
const MIDDLES = {
  stopped: "assert((await vm.continue({ timeoutMs: 120_000 })).kind === 'breakpoint');",
  stepping: "await vm.continue({ timeoutMs: 120_000 }); endless(() => vm.step());",
  running: "never = true; endless(() => vm.continue());",
} as const;
type Middle = keyof typeof MIDDLES;

const say = (what: string) => console.log(`ok ${what}`);
/** What is written down of domains that are attached to. */
export const journals = (folder = JOURNALS) => {
  try {
    return [...Deno.readDirSync(folder)].map(({ name }) => name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
};

const PARTS: Record<string, () => Promise<void>> = {
  pvh: () =>
    withDomain("leave-pvh", ['type="pvh"', `kernel="${pvhImage()}"`, "memory=16", "vcpus=1"], counting),
  hvm: () =>
    withDomain(
      "leave-hvm",
      ['type="hvm"', `firmware_override="${pvhImage()}"`, "memory=16", "vcpus=1", "vnc=0", "usb=0"],
      counting,
    ),
  pv: () => withDomain("leave-pv", ['type="pv"', `kernel="${IMAGE}"`, "memory=16", "vcpus=1"], stub),
  own,
  journal: () =>
    withDomain("leave-odd", ['type="pvh"', `kernel="${pvhImage()}"`, "memory=16", "vcpus=1"], odd),
};

if (import.meta.main) {
  const wanted = Deno.args.length > 0 ? Deno.args : Object.keys(PARTS);
  for (const part of wanted) await PARTS[part]();
  assert.deepEqual(journals(), [], "no journal is left");
  say("all of it");
}

/** Attaches to `name`, puts breakpoints there, and is ended by `signal` in the middle of something. */
async function end(name: string, at: readonly bigint[], kind: string, middle: Middle, signal: Deno.Signal) {
  await program(
    `const vm = await attach({ backend: "xen", domain: ${JSON.stringify(name)} });
    for (const at of [${at.map((each) => `${each}n`).join(", ")}]) {
      await vm.breakpoints.add(gva(at), { kind: "${kind}", condition: () => !never });
    }
    ${MIDDLES[middle]}`,
    signal,
  );
}

/** Runs `body` in a process that `signal` ends: sent as soon as it says "ready", if it is not ended by it before. */
export async function program(
  body: string,
  signal: Deno.Signal,
  env: Record<string, string> = {},
): Promise<void> {
  const source = (name: string) => JSON.stringify(new URL(`../../src/${name}`, import.meta.url).href);
  // Not all of the library: in a lab each of these programs takes its time to start.
  const text = `import { attach } from ${source("dsl/attach.ts")};
    import { open } from ${source("dsl/open.ts")};
    import { elf, flat } from ${source("dsl/boot.ts")};
    import { gpa, gva } from ${source("vm/address.ts")};
    const assert = (held) => { if (!held) throw new Error("it did not hold"); };
    let never = false;
    const endless = (what) => void (async () => { for (;;) await what(); })();
    ${body}
    setInterval(() => {}, 1000);
    await new Promise((resolve) => setTimeout(resolve, 300));
    console.log("ready");`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-q", "-A", "--no-check", `data:application/typescript,${encodeURIComponent(text)}`],
    env,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const errors = new Response(child.stderr).text();
  let said = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    if (said === "" && text.includes("ready")) child.kill(signal);
    said += text;
  }
  const status = await child.status;
  assert.equal(status.signal, signal, `${said}${await errors}`);
}

/** A PVH or HVM guest that counts. */
async function counting(name: string): Promise<void> {
  xl("unpause", name);
  const asItWas = async () => {
    const found = await attach({ backend: "xen", domain: name });
    const { rip } = await found.vcpus[0].registers();
    const code = [...await found.memory.read(gpa(ENTRY), LOOP.length)];
    await found.close();
    assert.deepEqual(code, LOOP);
    assert.ok([BigInt(ENTRY), STORE, JUMP].includes(rip), `it stands at 0x${rip.toString(16)}`);
    await runs(name);
    return found.notices;
  };
  await end(name, [STORE], "software", "running", "SIGTERM");
  assert.deepEqual(await asItWas(), []);
  say(`${name}: a script that runs it is ended by SIGTERM, and the guest goes on`);
  for (const middle of Object.keys(MIDDLES) as Middle[]) {
    await end(name, [STORE], "software", middle, "SIGKILL");
    const notices = await asItWas();
    assert.equal(notices.length, 1);
    // Who steps off a breakpoint has it out for that one instruction.
    const taken = middle === "stepping" ? /; put right: ./ : /; put right: .*1 breakpoint/;
    assert.match(notices[0], /^A hvsh \(process \d+\) was killed while it was attached to /);
    assert.match(notices[0], taken);
    assert.deepEqual(await asItWas(), [], middle);
    say(`${name}: ${middle} and killed, it is put right by the next to attach: ${notices[0]}`);
  }
  await end(name, [STORE], "software", "stopped", "SIGKILL");
  const repaired = await repairDomains();
  assert.equal(repaired.length, 1);
  assert.match(repaired[0], new RegExp(`attached to ${name}; put right: its pause, 1 breakpoint`));
  assert.deepEqual(await repairDomains(), []);
  assert.deepEqual(await asItWas(), []);
  say(`${name}: \`domains clean\` puts it right as well`);
}

/** The fixture as a PV guest: the stop stub in its text. */
async function stub(name: string): Promise<void> {
  xl("unpause", name);
  await untilItLoops(name);
  const before = traces(name);
  const places = await (async () => {
    await using vm = await attach({ backend: "xen", domain: name });
    vm.symbols.add("pv", Deno.readFileSync(IMAGE));
    return [symbol(vm, "body"), symbol(vm, "fold")] as const;
  })();
  const goesOn = async () => {
    const count = async () => {
      await using vm = await attach({ backend: "xen", domain: name });
      assert.equal((await vm.vcpus[0].registers()).dr7 & 0xffn, 0n);
      return [(await vm.vcpus[0].registers()).rax, vm.notices] as const;
    };
    const [first, notices] = await count();
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.notEqual((await count())[0], first);
    assert.equal(traces(name), before);
    return notices;
  };
  await end(name, places, "software", "stepping", "SIGHUP");
  assert.deepEqual(await goesOn(), []);
  say(`${name}: a script that steps it is ended by SIGHUP, and the guest goes on`);
  for (
    const [kind, middle] of [
      ["software", "stopped"],
      ["software", "stepping"],
      ["software", "running"],
      ["hardware", "running"],
    ] as const
  ) {
    await end(name, places, kind, middle, "SIGKILL");
    const notices = await goesOn();
    assert.equal(notices.length, 1);
    assert.match(notices[0], /the stop stub/);
    assert.deepEqual(await goesOn(), [], `${kind} ${middle}`);
    say(`${name}: ${middle} (${kind}) and killed, it is put right by the next to attach: ${notices[0]}`);
  }
}

/** Domains of a script's own. */
async function own(): Promise<void> {
  const ours = async () =>
    (await domains()).map(({ name }) => name).filter((name) => name.startsWith("hvsh-"));
  const before = await ours();
  await program(
    `const vm = await open({ backend: "xen-pvh", memory: 16 << 20, boot: flat(Uint8Array.of(0xeb, 0xfe)) });
    const small = await open({ backend: "xen-pvh", memory: 4 << 20, boot: flat(Uint8Array.of(0xeb, 0xfe)) });
    await small.close();
    endless(() => vm.continue());`,
    "SIGINT",
  );
  assert.deepEqual(await ours(), before);
  say("domains of a script's own, and those it kept for later, are gone when a signal ends it");
  await program(
    `const vm = await open({ backend: "xen-pvh", memory: 16 << 20, boot: flat(Uint8Array.of(0xeb, 0xfe)) });
    vm.keep();
    endless(() => vm.continue());`,
    "SIGTERM",
  );
  const kept = (await ours()).filter((name) => !before.includes(name));
  assert.equal(kept.length, 1);
  assert.deepEqual(await cleanDomains(), []);
  xl("destroy", kept[0]);
  say("one that was kept goes on");
}

/** Journals that can't be used: of another domain, cut off, not to be written; of one that is gone. */
async function odd(name: string): Promise<void> {
  xl("unpause", name);
  const attached = async () => {
    await using vm = await attach({ backend: "xen", domain: name });
    return [vm.notices, [...await vm.memory.read(gpa(ENTRY), 7)]] as const;
  };
  const id = (await domains()).find((d) => d.name === name)!.id;
  const path = () => `${JOURNALS}/${journals().find((file) => /^\d+\.\d+\.\d+$/.test(file))}`;
  const out = [0xe6, 0xee];
  await end(name, [STORE], "software", "stopped", "SIGKILL");
  const file = path();
  const whole = Deno.readTextFileSync(file);
  const again = (text: string) => {
    Deno.writeTextFileSync(`${JOURNALS}/${id}.1000000000.1`, text);
    Deno.writeFileSync(`${JOURNALS}/${id}.1000000000.1.held`, Uint8Array.of(1));
  };
  for (const end of ["", ".held"]) Deno.removeSync(file + end);
  const odd = [
    whole.replace(/"uuid":"...../, '"uuid":"fffff'),
    whole.slice(0, whole.length / 2),
    "",
    whole.replace(/"at":"[0-9a-f]+"/, '"at":"-1"'),
  ];
  // The bytes that are in the guest stay, in each of these cases: nobody knows whose they are.
  for (const text of odd) {
    again(text);
    const [notices, code] = await attached();
    assert.deepEqual(code.slice(1, 3), out);
    assert.deepEqual(journals(), []);
    assert.equal(notices.length, 1);
    assert.match(notices[0], /^The journal .* (can't be used|is of another domain)/);
    say(notices[0]);
  }
  // And by the whole journal it is put right after all.
  again(whole);
  const [repaired, mended] = await attached();
  assert.deepEqual(mended, LOOP.slice(0, 7));
  assert.match(repaired[0], /put right: its pause, 1 breakpoint/);
  await runs(name);

  await Deno.rename(JOURNALS, `${JOURNALS}.away`).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  Deno.writeTextFileSync(JOURNALS, "no folder");
  try {
    await using vm = await attach({ backend: "xen", domain: name });
    assert.equal(vm.notices.length, 1);
    assert.match(vm.notices[0], /^It can't be written down what is put into domain/);
    await vm.breakpoints.add(gva(STORE));
    assert.equal((await vm.continue({ timeoutMs: 120_000 })).kind, "breakpoint");
    say(vm.notices[0]);
  } finally {
    Deno.removeSync(JOURNALS);
  }
  await runs(name);

  await withDomain(
    "leave-gone",
    ['type="pvh"', `kernel="${pvhImage()}"`, "memory=16", "vcpus=1"],
    async (gone) => {
      xl("unpause", gone);
      await end(gone, [STORE], "software", "stopped", "SIGKILL");
    },
  );
  const told = await repairDomains();
  assert.ok(told.length >= 1);
  for (const sentence of told) {
    assert.match(sentence, /^Domain leave-gone, which a killed hvsh was attached to, is gone/);
  }
  say(told[0]);
}
