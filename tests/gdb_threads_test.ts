/** vCPUs as threads, for packets, for gdb and for lldb: one is stepped, some run, all run. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { flat, gpa, type GuestMachine, type Machine, open } from "../mod.ts";
import { GuestMachine as OpenedMachine } from "../src/dsl/machine.ts";
import { kvmTest } from "../src/kvm/test_guest.ts";
import { GdbClient } from "./gdb_client.ts";
import { OTHERS, severalVcpus } from "./several_vcpus.ts";
import { gdb, has, lldb } from "./gdb_programs.ts";

/** At 0x1000: inc ax; inc bx; jmp 0x1000. */
const LOOP = Uint8Array.of(0x40, 0x43, 0xeb, 0xfc);

async function guest(cpus: number): Promise<GuestMachine> {
  const vm = await open({ backend: "fake", cpus, boot: flat(LOOP, { at: 0x1000 }) });
  for (const vcpu of vm.vcpus) await vcpu.setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n });
  return vm;
}

const counts = async (vm: GuestMachine) => {
  const all = [];
  for (const vcpu of vm.vcpus) all.push(Number((await vcpu.registers()).rax));
  return all;
};

Deno.test("gdb server: two of three vCPUs run, the third stands still", async () => {
  await using vm = await guest(3);
  await using server = await vm.gdbServer();
  await using client = await GdbClient.start(server.address);
  assert.equal(await client.ask("Z0,1001,1"), "OK");
  // Whoever is first there is told; then it is the other one's turn.
  const met = [];
  for (let i = 0; i < 2; i++) {
    met.push(/^T05thread:p1\.(.);swbreak/.exec((await client.ask("vCont;c:p1.3;c:p1.1"))!)?.[1]);
  }
  assert.deepEqual(met.sort(), ["1", "3"]);
  assert.equal(await client.ask("z0,1001,1"), "OK");
  await client.send("vCont;c:p1.1;c:p1.3");
  while (vm.state !== "running") await new Promise((resolve) => setTimeout(resolve, 1));
  await client.raw("\x03");
  assert.match((await client.reply())!, /^T02thread:p1\.[13];/);
  assert.equal((await counts(vm))[1], 0);
});

Deno.test({
  name: "gdb: thread, thread apply, stepi in one, scheduler-locking",
  ignore: !has("gdb"),
  fn: async () => {
    await using vm = await guest(2);
    await using server = await vm.gdbServer();
    const output = await gdb(server.address, [
      "info threads",
      "thread apply all print/x $pc",
      "thread 2",
      "stepi",
      "print/x $pc",
      "thread 1",
      "print/x $pc",
      "set scheduler-locking on",
      "break *0x1002 thread 1",
      "continue",
      "thread apply all print $ax",
      "set scheduler-locking off",
      "delete",
      "break *0x1000 thread 2",
      "continue",
      "print $_thread",
    ]);
    const wanted = [
      /Thread 1\.1 "vCPU 0"/,
      /Thread 1\.2 "vCPU 1"/,
      /\$1 = 0x1000[^]*\$2 = 0x1000/,
      /\$3 = 0x1001/,
      /\$4 = 0x1000/,
      /Thread 1 "vCPU 0" hit Breakpoint 1/,
      /\$5 = 1[^]*\$6 = 1/,
      /Thread 2 "vCPU 1" hit Breakpoint 2/,
      /\$7 = 2/,
    ];
    for (const pattern of wanted) assert.match(output, pattern, output);
  },
});

// `thread select` comes last: lldb's thread that prints what was selected asks for threads and registers in the
// midst of a step that begins right then, and lldb 14 takes its end for another stop and steps again.
Deno.test({
  name: "lldb: step-inst in one, thread continue of one, thread select",
  ignore: !has("lldb"),
  fn: async () => {
    await using vm = await guest(2);
    await using server = await vm.gdbServer();
    const output = await lldb(server.address, [
      "thread list",
      "thread step-inst 2",
      "thread backtrace 2",
      "thread backtrace 1",
      "breakpoint set --address 0x1002",
      "thread continue 2",
      "thread list",
      "thread select 1",
      "register read rip",
      "thread select 2",
      "register read rip",
      "detach",
    ]);
    assert.match(output, /thread #1[^]*thread #2/, output);
    assert.match(output, /frame #0: 0x0+1001[^]*frame #0: 0x0+1000[^]*breakpoint set/, output);
    assert.match(output, /rip = 0x0+1000[^]*rip = 0x0+1002/, output);
    assert.deepEqual(await counts(vm), [0, 1], output);
  },
});

/** RIP of each vCPU. */
const places = (vm: Machine) => Promise.all(vm.vcpus.map(async (vcpu) => (await vcpu.registers()).rip));

/** How often the others of `counting` went round. */
const rounds = (vm: Machine) => vm.memory.readUint(gpa(0x6004n), 4);

/** A guest on KVM whose other vCPUs count, all of them in their loops. */
async function counting(cpus: number): Promise<OpenedMachine> {
  // lock inc dword [0x6004] (DS is 0); jmp back
  const vm = await severalVcpus(cpus, [0xf0, 0x66, 0xff, 0x06, 0x04, 0x60, 0xeb, 0xf8]);
  assert.ok(vm instanceof OpenedMachine);
  const loops = async ({ vcpus }: Machine) => {
    const all = await Promise.all(vcpus.slice(1).map((vcpu) => vcpu.registers()));
    return all.every(({ cs_base }) => cs_base === OTHERS);
  };
  while (!await loops(vm)) {
    const run = vm.continue();
    await new Promise((resolve) => setTimeout(resolve, 1));
    await vm.pause();
    await run;
  }
  return vm;
}

kvmTest("gdb server: on KVM one vCPU is stepped while the others run", ["irqchip"], async () => {
  await using vm = await counting(2);
  await using server = await vm.gdbServer();
  await using client = await GdbClient.start(server.address);
  for (const packet of ["vCont;s:p1.1;c", "vCont;r0,ffff:p1.1;c:p1.2", "vCont;s:p1.1;c:p1.-1"]) {
    const before = await rounds(vm);
    // One step is over after a millisecond, in which a busy host may not have let the other one in.
    while (await rounds(vm) === before) {
      await client.send(packet);
      if (packet.includes(";r")) {
        // It jumps to itself: it never leaves the range.
        while (vm.state !== "running") await new Promise((resolve) => setTimeout(resolve, 1));
        await client.raw("\x03");
      }
      assert.match((await client.reply())!, /^T0[25]thread:p1\.1;/, packet);
    }
  }
  // What the other one meets stops both.
  assert.equal(await client.ask(`Z0,${OTHERS.toString(16)},1`), "OK");
  let reply: string | undefined;
  do reply = await client.ask("vCont;s:p1.1;c"); while (reply?.startsWith("T05thread:p1.1;"));
  assert.match(reply!, /^T05thread:p1\.2;swbreak/);
  // It stands there, and goes round to it again.
  const before = await rounds(vm);
  do reply = await client.ask("vCont;s:p1.1;c"); while (reply?.startsWith("T05thread:p1.1;"));
  assert.match(reply!, /^T05thread:p1\.2;swbreak/);
  assert.equal(await rounds(vm), before + 1n);
  assert.equal(await client.ask(`z0,${OTHERS.toString(16)},1`), "OK");
});

const SAME = 'gdb.parse_and_eval("*(int *) 0x6004 == $was")';

kvmTest(
  "gdb: on KVM scheduler-locking decides whether the others run during a step",
  ["irqchip"],
  async () => {
    if (!has("gdb")) return;
    await using vm = await counting(2);
    await using server = await vm.gdbServer();
    const output = await gdb(server.address, [
      "set $was = *(int *) 0x6004",
      "set scheduler-locking step",
      "stepi",
      "stepi",
      "print *(int *) 0x6004 - $was",
      "set scheduler-locking off",
      `python [gdb.execute("stepi") for _ in iter(lambda: int(${SAME}), 0)]`,
      "print *(int *) 0x6004 != $was",
      "print $_thread",
    ]);
    assert.match(output, /\$1 = 0[^]*\$2 = 1[^]*\$3 = 1/, output);
  },
);

kvmTest(
  "gdb server: on KVM one vCPU is stepped, or runs, while the others stand; then all run",
  ["irqchip"],
  async () => {
    await using vm = await counting(3);
    await using server = await vm.gdbServer();
    await using client = await GdbClient.start(server.address);
    for (const packet of ["vCont;s:p1.2", "vCont;s:p1.3", "vCont;c:p1.1;s:p1.2", "vCont;r0,6:p1.3"]) {
      const before = await places(vm);
      const moved = Number(/[sr0-9,]:p1\.(.)/.exec(packet.replace("c:p1.1;", ""))![1]) - 1;
      assert.match((await client.ask(packet))!, new RegExp(`^T05thread:p1\\.${moved + 1};`), packet);
      const after = await places(vm);
      const still = (index: number) => index !== moved && after[index] === before[index];
      assert.deepEqual([0, 1, 2].filter(still), [0, 1, 2].filter((index) => index !== moved), packet);
      // A range's end is where it stood, if it stood there.
      if (packet[6] === "r") assert.equal(after[moved], 6n);
      else assert.notEqual(after[moved], before[moved], packet);
    }
    // One runs to a breakpoint that the other would meet as well.
    assert.equal(await client.ask(`Z0,${OTHERS.toString(16)},1`), "OK");
    const before = await places(vm);
    assert.match((await client.ask("vCont;c:p1.3"))!, /^T05thread:p1\.3;swbreak/);
    assert.deepEqual((await places(vm)).slice(0, 2), before.slice(0, 2));
    // All of them: each meets it.
    const met = new Set<string>();
    while (met.size < 2) met.add(/^T05thread:p1\.([23]);/.exec((await client.ask("vCont;c"))!)![1]);
    assert.equal(await client.ask(`z0,${OTHERS.toString(16)},1`), "OK");
  },
);
