/**
 * Attaching to domains, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_attach.ts KERNEL [pv|pvh]`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import { attach, domains, gpa, type GuestMachine, gva } from "../../mod.ts";
import { ENTRY, pvhElf } from "../../src/xen/tiny_guest.ts";
import { createPaused, xl } from "../../src/xen/xl.ts";

/** 1: inc eax; mov [0x8000], eax; jmp 1b; cpuid; jmp 1b */
const LOOP = [0x40, 0xa3, 0x00, 0x80, 0x00, 0x00, 0xeb, 0xf8, 0x0f, 0xa2, 0xeb, 0xf4];
const STORE = BigInt(ENTRY) + 1n;
const JUMP = BigInt(ENTRY) + 6n;
const CPUID = BigInt(ENTRY) + 8n;
const PRESERVE = ["crash", "reboot", "poweroff"].map((event) => `on_${event}="preserve"`);

const say = (what: string) => console.log(`ok ${what}`);
const stateOf = async (name: string) => (await domains()).find((d) => d.name === name)?.state;

if (import.meta.main) {
  const [kernel, only] = Deno.args;
  if (only !== "pv") {
    await withDomain("test-pvh", ['type="pvh"', `kernel="${pvhImage()}"`, "memory=16", "vcpus=1"], pvh);
  }
  if (only !== "pvh") {
    await withDomain("test-pv", ['type="pv"', `kernel="${kernel}"`, "memory=128", "vcpus=1"], pv);
  }
}

function pvhImage(): string {
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, pvhElf(LOOP));
  return path;
}

async function withDomain(
  name: string,
  lines: string[],
  use: (name: string) => Promise<void>,
): Promise<void> {
  createPaused(name, [...lines, ...PRESERVE]);
  try {
    await use(name);
  } finally {
    xl("destroy", name);
  }
}

/** A PVH guest of three instructions, by vm_event. */
async function pvh(name: string): Promise<void> {
  const listed = (await domains()).find((d) => d.name === name);
  assert.equal(listed?.kind, "pvh");
  assert.equal(listed.vcpus, 1);
  assert.equal(listed.memory >> 20, 16);
  say("domains lists it");
  {
    await using vm = await attach({ backend: "xen", domain: listed.id });
    const { rip, cr0, cs_attributes } = await vm.vcpus[0].registers();
    assert.deepEqual([rip, cr0 & 1n, cs_attributes >> 14n & 1n], [BigInt(ENTRY), 1n, 1n]);
    assert.deepEqual([...await vm.memory.read(gpa(ENTRY), LOOP.length)], LOOP);
    await assert.rejects(vm.memory.read(gpa(0x8000_0000n), 1), { name: "FaultError" });
    assert.equal(vm.memory.regions[0].start, 0n);
    say("registers and memory of a domain that was never let go");
    assert.equal((await vm.continue({ timeoutMs: 50 })).kind, "fault");
    say("a pause of somebody else's is told");
  }
  xl("unpause", name);
  await steps(name);
  assert.notEqual(await stateOf(name), "paused");
  say("detached, it runs");
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
  await vm.vcpus[0].setRegisters({ rip: CPUID });
  const refused = await vm.step();
  assert.ok(refused.kind === "fault" && /CPUID can't be stepped/.test(refused.reason));
  await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
  assert.equal((await vm.step()).kind, "step");
  say("what Xen would finish itself is not stepped");
}

/** Linux as a PV guest without a root: what is looked at is the time until it panics, and the domain that it leaves. */
async function pv(name: string): Promise<void> {
  {
    await using vm = await attach({ backend: "xen", domain: name });
    xl("unpause", name);
    const running = vm.continue({ timeoutMs: 120_000 });
    await vm.console.expect(/Linux version/, { timeoutMs: 100_000 });
    await vm.pause();
    await running;
    say("a PV kernel starts under the debugger; its console is read");
    await look(vm);
    const before = await vm.vcpus[0].registers();
    const at = await vm.breakpoints.add(gva(before.rip), { kind: "software" });
    const stepped = await vm.step();
    assert.equal(stepped.kind, "step");
    await at.remove();
    assert.equal((await vm.step(5)).kind, "step");
    say("steps of a PV kernel, off a breakpoint");
    const here = await vm.vcpus[0].registers();
    const r15 = here.r15 ^ 1n;
    await vm.vcpus[0].setRegisters({ r15 });
    assert.equal((await vm.vcpus[0].registers()).r15, r15);
    await vm.vcpus[0].setRegisters({ r15: here.r15 });
    await assert.rejects(vm.vcpus[0].setRegisters({ cr3: 0n }), { name: "UnsupportedError" });
    say("registers of a PV vCPU are set, or refused");
    const end = await vm.continue({ timeoutMs: 180_000 });
    assert.deepEqual([end.kind, "reason" in end && end.reason], ["shutdown", "crash"]);
    assert.match(vm.console.text, /Kernel panic/);
    say("its panic is a stop");
  }
  assert.equal(await stateOf(name), "crashed");
  await using vm = await attach({ backend: "xen", domain: name });
  await look(vm);
  say("a crashed domain is looked at");
}

/** The instruction under RIP, by linear and by pseudo-physical address. */
async function look(vm: GuestMachine): Promise<void> {
  const { rip } = await vm.vcpus[0].registers();
  const found = await vm.vcpus[0].memory.translate(gva(rip));
  assert.equal(found.steps.length, 4);
  assert.ok(found.gpa !== undefined && found.gpa < 1n << 32n);
  assert.deepEqual(
    await vm.memory.read(gpa(found.gpa), 4),
    await vm.vcpus[0].memory.read(gva(rip), 4),
  );
}
