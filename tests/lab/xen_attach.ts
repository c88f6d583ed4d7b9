/**
 * Attaching to domains, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_attach.ts [pv|pvh]`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import {
  attach,
  domains,
  gpa,
  type GuestMachine,
  gva,
  hypervisorLog,
  inspectDomain,
  mfn,
} from "../../mod.ts";
import { ENTRY, pvhElf } from "../../src/xen/tiny_guest.ts";
import { AttachedDomain } from "../../src/xen/attached.ts";
import type { PvVcpu } from "../../src/xen/pv_vcpu.ts";
import { createPaused, destroy, xl } from "../../src/xen/xl.ts";

/** 1: inc eax; mov [0x8000], eax; jmp 1b; cpuid; jmp 1b */
export const LOOP = [0x40, 0xa3, 0x00, 0x80, 0x00, 0x00, 0xeb, 0xf8, 0x0f, 0xa2, 0xeb, 0xf4];
export const STORE = BigInt(ENTRY) + 1n;
export const JUMP = BigInt(ENTRY) + 6n;
const CPUID = BigInt(ENTRY) + 8n;
/** Free memory of the same guest, for an IN. */
const IN = 0x9000n;
const PRESERVE = ["crash", "reboot", "poweroff"].map((event) => `on_${event}="preserve"`);

/** Where the fixture's kernel lies in guest-physical memory, below its linear addresses. */
const BELOW = 0xffff_ffff_8000_0000n;
/** The kernel with a way in for each kind of guest. */
export const IMAGE = new URL("../../fixtures/three_ways.bin", import.meta.url).pathname;

/** Nothing here takes that long, unless it never comes. */
const PATIENCE_MS = 120_000;

const say = (what: string) => console.log(`ok ${what}`);
const stateOf = async (name: string) => (await domains()).find((d) => d.name === name)?.state;

if (import.meta.main) {
  const [only] = Deno.args;
  if (only !== "pv") {
    await withDomain("test-pvh", ['type="pvh"', `kernel="${pvhImage()}"`, "memory=16", "vcpus=1"], pvh);
  }
  if (only !== "pvh") {
    await withDomain("test-pv", ['type="pv"', `kernel="${IMAGE}"`, "memory=16", "vcpus=1"], pv);
  }
  if (only === undefined) say("all of it");
}

export function pvhImage(): string {
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, pvhElf(LOOP));
  return path;
}

export async function withDomain(
  name: string,
  lines: string[],
  use: (name: string) => Promise<void>,
): Promise<void> {
  createPaused(name, [...lines, ...PRESERVE]);
  try {
    await use(name);
  } finally {
    destroy(name);
  }
}

/** A PVH guest of three instructions, by vm_event. */
async function pvh(name: string): Promise<void> {
  const listed = (await domains()).find((d) => d.name === name);
  assert.equal(listed?.kind, "pvh");
  assert.equal(listed.vcpus, 1);
  assert.equal(listed.memory >> 20, 16);
  const { store, channels, grants } = await inspectDomain(name);
  assert.ok(store.some(({ path, value }) => path === "name" && value === name));
  assert.ok(channels.some((channel) => "domain" in channel && channel.domain === 0), "its console's");
  // xl seeds the table with the pages of xenstore and the console.
  assert.ok(grants?.some(({ domain, access }) => domain === 0 && access === "write"));
  assert.match(await hypervisorLog(), /^\(XEN\) /m);
  say("domains lists it; its folder, channels and grants are told, and the hypervisor's log");
  {
    await using vm = await attach({ backend: "xen", domain: listed.id });
    const { rip, cr0, cs_attributes } = await vm.vcpus[0].registers();
    assert.deepEqual([rip, cr0 & 1n, cs_attributes >> 14n & 1n], [BigInt(ENTRY), 1n, 1n]);
    assert.deepEqual([...await vm.memory.read(gpa(ENTRY), LOOP.length)], LOOP);
    await assert.rejects(vm.memory.read(gpa(0x8000_0000n), 1), { name: "FaultError" });
    assert.equal(vm.memory.regions[0].start, 0n);
    say("registers and memory of a domain that was never let go");
    // `xl destroy` pauses too, and is waited for first.
    assert.equal((await vm.continue({ timeoutMs: 60_000 })).kind, "fault");
    say("a pause of somebody else's is told");
  }
  xl("unpause", name);
  await steps(name);
  await runs(name);
  await breaks(name);
  await runs(name);
  say("detached, it runs");
}

/** Whether it counts on, after a moment: a vCPU left with RFLAGS.TF would have died of that. */
export async function runs(name: string): Promise<void> {
  const counted = async () => {
    await using vm = await attach({ backend: "xen", domain: name });
    return (await vm.vcpus[0].registers()).rax;
  };
  const before = await counted();
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.notEqual(await counted(), before);
  assert.match(await stateOf(name) ?? "gone", /^(running|blocked)$/);
}

async function steps(name: string): Promise<void> {
  await using vm = await attach({ backend: "xen", domain: name });
  await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY), rax: 41n, xmm3: 9n });
  const first = await vm.step();
  assert.deepEqual([first.kind, first.rip, first.registers.rax], ["step", STORE, 42n]);
  const second = await vm.step();
  assert.deepEqual([second.rip, second.registers.rflags >> 8n & 1n], [JUMP, 0n]);
  assert.equal(await vm.memory.readUint(gpa(0x8000n), 4), 42n);
  assert.equal(second.registers.xmm3, 9n);
  say("steps, with registers set before");
  await vm.vcpus[0].setRegisters({ rax: 99n });
  const third = await vm.step(2);
  assert.equal(third.registers.rax, 100n);
  say("a register set between steps");
  const timeout = await vm.continue({ timeoutMs: 50 });
  assert.equal(timeout.kind, "timeout");
  assert.ok(timeout.registers.rax > 100n);
  const { registers } = await vm.step(3);
  assert.ok(registers.rip >= BigInt(ENTRY) && registers.rip <= JUMP);
  say("continue, a time limit, and steps again");
  await vm.vcpus[0].setRegisters({ gs_base: 0x1234n, cr2: 0x5678n });
  const set = await vm.vcpus[0].registers();
  assert.deepEqual([set.gs_base, set.cr2], [0x1234n, 0x5678n]);
  say("control and segment registers");
  assert.equal((await vm.vcpus[0].lapic()).length, 1024);
  await vm.vcpus[0].setRegisters({ rip: CPUID, rax: 0n });
  const behind = await vm.step();
  assert.deepEqual([behind.kind, behind.rip], ["step", CPUID + 2n]);
  assert.notEqual(behind.registers.rbx, 0n);
  assert.deepEqual([...await vm.memory.read(gpa(ENTRY), LOOP.length)], LOOP);
  await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
  assert.equal((await vm.step()).kind, "step");
  say("what Xen finishes itself is stepped with an OUT behind it");
}

/** Where the probe sees that INT3 is not reported, OUT to a port of hvsh's is a breakpoint in domains of others too. */
async function breaks(name: string): Promise<void> {
  await using vm = await attach({ backend: "xen", domain: name });
  const seen: bigint[] = [];
  const breakpoint = await vm.breakpoints.add(gva(STORE), {
    condition: ({ registers }) => seen.push(registers.rax) === 3,
  });
  const hit = await vm.continue({ timeoutMs: PATIENCE_MS });
  assert.deepEqual([hit.kind, hit.rip, seen.length], ["breakpoint", STORE, 3]);
  assert.equal(seen[2], seen[0] + 2n);
  assert.deepEqual([...await vm.memory.read(gpa(ENTRY), LOOP.length)], LOOP);
  assert.equal((await vm.step()).rip, JUMP);
  await breakpoint.remove();
  say(`a breakpoint with a condition, by ${breakpoint.how}`);
  // in al, 0x55; jmp $
  await vm.memory.write(gpa(IN), Uint8Array.of(0xe4, 0x55, 0xeb, 0xfe));
  const handle = await vm.devices.add({
    name: "latch",
    ports: { start: 0x55, length: 1 },
    read: (_offset, data) => void (data[0] = 0x5a),
  });
  const read = async () => {
    await vm.vcpus[0].setRegisters({ rip: IN, rax: 0n });
    const { rip, registers } = await vm.step();
    assert.equal(rip, IN + 2n);
    return registers.rax;
  };
  assert.equal(await read(), 0x5an);
  await handle.remove();
  assert.equal(await read(), 0xffn);
  await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
  say("a device of hvsh's, added and taken out");
}

/** The fixture as a PV guest, by the stop stub. */
async function pv(name: string): Promise<void> {
  const listed = (await domains()).find((d) => d.name === name);
  assert.equal(listed?.kind, "pv");
  await pvUntouched(listed.id);
  xl("unpause", name);
  await untilItLoops(name);
  const [state] = (await inspectDomain(name)).pv;
  assert.equal(state.vcpu, 0);
  assert.notEqual(state.kernelStack.sp, 0n);
  say("its kernel's stack, callbacks and GDT are told while it runs");
  const before = traces(name);
  {
    await using vm = await attach({ backend: "xen", domain: name });
    vm.symbols.add("pv", Deno.readFileSync(IMAGE));
    await machineFrames(vm);
    await pvSteps(vm);
    await pvBreaks(vm);
  }
  await pvLeft(name, before);
}

/** The frame of the top page table, by the machine's address in CR3 and by its own. */
async function machineFrames(vm: GuestMachine): Promise<void> {
  const { cr3 } = await vm.vcpus[0].registers();
  const table = await vm.memory.read(mfn(cr3 >> 12n), 4096);
  assert.ok(table.some((byte) => byte !== 0));
  await assert.rejects(vm.memory.read(mfn(0), 1), { name: "FaultError" });
  say("the page table in CR3 is read by its machine frame");
}

/** Its kernel sets the trap table first, and prints. */
export async function untilItLoops(name: string): Promise<void> {
  for (let tries = 0;; tries++) {
    await using vm = await attach({ backend: "xen", domain: name });
    vm.symbols.add("pv", Deno.readFileSync(IMAGE));
    if ((await vm.vcpus[0].registers()).rip >= symbol(vm, "body")) return;
    assert.ok(tries < 100, "The guest does not come to its loop.");
    await vm.continue({ timeoutMs: 100 });
  }
}

/** A domain that was never let go. */
async function pvUntouched(id: number): Promise<void> {
  await using vm = await attach({ backend: "xen", domain: id });
  vm.symbols.add("pv", Deno.readFileSync(IMAGE));
  const { rip } = await vm.vcpus[0].registers();
  assert.equal(rip, vm.symbols.lookup("pv_start"));
  // The multiboot header lies before the PVH entry.
  const header = new DataView((await vm.memory.read(gpa(0x20_0000n), 4)).buffer);
  assert.equal(header.getUint32(0, true), 0x1bad_b002);
  await assert.rejects(vm.memory.read(gpa(0x8000_0000n), 1), { name: "FaultError" });
  assert.equal(vm.memory.regions[0].start, 0n);
  say("registers and memory of a domain that was never let go");
  const { kind: stop } = await vm.continue({ timeoutMs: 60_000 });
  assert.equal(stop, "fault");
  say("a pause of somebody else's is told");
}

async function pvSteps(vm: GuestMachine): Promise<void> {
  const body = symbol(vm, "body");
  const end = symbol(vm, "body_end");
  for (let tries = 0;; tries++) {
    const stop = await vm.continue({ timeoutMs: 100 });
    assert.equal(stop.kind, "timeout");
    if (stop.rip >= body) break;
    assert.ok(tries < 100, `The guest is at ${stop.rip.toString(16)} and not in its loop.`);
  }
  const found = await vm.vcpus[0].memory.translate(body);
  assert.equal(found.steps.length, 4);
  assert.equal(found.gpa, body - BELOW);
  say("it runs to its loop, and its page tables are walked");
  await vm.vcpus[0].setRegisters({ rip: body, rax: 41n, xmm3: 9n });
  const first = await vm.step();
  assert.deepEqual([first.kind, first.rip, first.registers.rax], ["step", body + 3n, 42n]);
  const third = await vm.step(2);
  assert.equal(third.registers.rflags >> 8n & 1n, 0n);
  assert.equal(await vm.memory.readUint(gpa(symbol(vm, "counter") - BELOW), 8), 42n);
  assert.equal(third.registers.xmm3, 9n);
  say("steps, with registers set before");
  await vm.vcpus[0].setRegisters({ rax: 100n, rbx: 7n });
  const fourth = await vm.step();
  assert.deepEqual([fourth.registers.rdx, fourth.registers.rbx], [300n, 7n]);
  // Back to where the counter is stored: the guest compares it.
  await vm.vcpus[0].setRegisters({ rip: body });
  say("registers set between steps");
  const timeout = await vm.continue({ timeoutMs: 50 });
  assert.equal(timeout.kind, "timeout");
  const after = await vm.step(3);
  assert.equal(after.kind, "step");
  assert.ok(after.rip >= body && after.rip <= end + 20n);
  say("continue, a time limit, and steps again");
  await assert.rejects(vm.vcpus[0].setRegisters({ cr3: 0n }), { name: "UnsupportedError" });
  say("registers that Xen keeps are refused");
}

/** Breakpoints of both kinds and a watchpoint; a condition that says no many times; single pauses in between. */
async function pvBreaks(vm: GuestMachine): Promise<void> {
  const body = symbol(vm, "body");
  const fold = symbol(vm, "fold");
  // Addresses as registers have them.
  const [bodyAt, foldAt] = [body + 0n, fold + 0n];
  const inside = (rip: bigint) => rip >= symbol(vm, "main") && rip < symbol(vm, "room");
  for (const kind of ["software", "hardware"] as const) {
    await using at = await vm.breakpoints.add(fold, { kind });
    const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
    assert.deepEqual([stop.kind, stop.rip], ["breakpoint", foldAt], kind);
    const next = await vm.step();
    assert.deepEqual([next.kind, next.rip], ["step", foldAt + 4n], kind);
    const again = await vm.continue({ timeoutMs: PATIENCE_MS });
    assert.deepEqual([again.kind, again.rip, again.registers.rax], [
      "breakpoint",
      foldAt,
      stop.registers.rax + 1n,
    ]);
    assert.equal(at.hits, 2);
    await vm.vcpus[0].setRegisters({ rcx: 5n });
    assert.equal((await vm.step()).registers.rcx, 5n << 7n);
  }
  say("breakpoints by INT3 and debug register, a step off them, a register set there");
  {
    await using watch = await vm.breakpoints.add(symbol(vm, "counter"), { access: "write", size: 8 });
    const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
    assert.equal(stop.kind, "watchpoint");
    assert.equal(watch.hits, 1);
  }
  say("a watchpoint");
  for (const kind of ["hardware", "software"] as const) {
    let asked = 0;
    const goal = (await vm.vcpus[0].registers()).rax + 20n;
    await using _when = await vm.breakpoints.add(body, {
      kind,
      condition: ({ registers }) => (asked++, registers.rip === bodyAt && registers.rax >= goal),
    });
    const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
    const why = `${kind}: ${stop.kind === "fault" ? stop.reason : ""}`;
    assert.deepEqual([stop.kind, stop.rip, stop.registers.rax], ["breakpoint", bodyAt, goal], why);
    assert.ok(asked >= 19, `${asked}`);
    say(`a ${kind} breakpoint's condition that says no many times`);
  }
  await using _never = await vm.breakpoints.add(fold, { kind: "hardware", condition: () => false });
  for (let round = 0; round < 12; round++) {
    const paused = await vm.continue({ timeoutMs: 1 + round % 4 });
    assert.ok(
      paused.kind === "timeout" && inside(paused.rip),
      `${paused.kind} at ${paused.rip.toString(16)}`,
    );
  }
  say("a time limit beside a condition never ends in the stub");
}

/** The kernel's text and trap table: as they were, when the debugger has left. */
async function pvLeft(name: string, before: string): Promise<void> {
  {
    await using vm = await attach({ backend: "xen", domain: name });
    const { dr7 } = await vm.vcpus[0].registers();
    assert.equal(dr7 & 0xffn, 0n);
  }
  assert.equal(traces(name), before);
  say("detached, text, trap table and debug registers are as they were");
}

/** All of a PV guest that must not change: its image in front of the data, and the vectors of #DB and #BP. */
export function traces(name: string): string {
  const domain = new AttachedDomain(name, { capabilities: () => new Map() });
  try {
    const text = new Uint8Array(0x350);
    domain.memory.read(0x20_0000n, text);
    const context = (domain.vcpus[0] as PvVcpu).readContext();
    const show = (_key: string, value: unknown) => typeof value === "bigint" ? value.toString(16) : value;
    return `${text} ${JSON.stringify([context.trap(1), context.trap(3)], show)}`;
  } finally {
    domain.close();
  }
}

export function symbol(vm: GuestMachine, name: string) {
  const found = vm.symbols.lookup(name);
  if (found === undefined) throw new RangeError(`The fixture has no symbol ${name}.`);
  return gva(found);
}
