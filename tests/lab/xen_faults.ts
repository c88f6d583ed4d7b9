/**
 * What goes wrong around a debugger of Xen's domains, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_faults.ts [store|listener|ends|frames|room|device ...]`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import { attach, domains, flat, gpa, gva, inspectDomain, open } from "../../mod.ts";
import { EventChannels } from "../../src/host/xen/event_channels.ts";
import type { HostError } from "../../src/host/error.ts";
import { XenControl } from "../../src/host/xen/control.ts";
import { PciFunction } from "../../src/devices/pci/pci_function.ts";
import { qemuSlots } from "../../src/dsl/qemu_slots.ts";
import { ENTRY, pvhElf } from "../../src/xen/tiny_guest.ts";
import { createPaused, destroy, xl } from "../../src/xen/xl.ts";
import {
  IMAGE,
  LOOP,
  pvhImage,
  runs,
  STORE,
  symbol,
  traces,
  untilItLoops,
  withDomain,
} from "./xen_attach.ts";
import { Granted } from "./granted.ts";

/** In a mount namespace of its own this program finds a socket there that nobody listens at. */
const STORE_FOLDER = "/run/xenstored";
const INSIDE = "inside";
/** UD2, without a handler: the triple fault of a PVH guest. */
const DIES = [0x0f, 0x0b];
/** mov eax, 20 (grant_table_op); xor ebx, ebx (map_grant_ref); mov ecx, MAP; mov edx, 1; vmmcall; 1: jmp 1b */
const MAPS = [
  0xb8,
  20,
  0,
  0,
  0,
  0x31,
  0xdb,
  0xb9,
  0,
  0x90,
  0,
  0,
  0xba,
  1,
  0,
  0,
  0,
  0x0f,
  0x01,
  0xd9,
  0xeb,
  0xfe,
];
/** Where that finds its struct gnttab_map_grant_ref (xen/grant_table.h). */
const MAP = 0x9000n;
const INT3 = 0xcc;
const NOP = 0x90;
/** 1: mov eax, 0x8000f800; mov edx, 0xcf8; out dx, eax; mov dl, 0xfc; in eax, dx; mov ecx, eax; jmp 1b */
const LOOK = Uint8Array.of(
  ...[
    0xb8,
    0x00,
    0xf8,
    0x00,
    0x80,
    0xba,
    0xf8,
    0x0c,
    0x00,
    0x00,
    0xef,
    0xb2,
    0xfc,
    0xed,
    0x89,
    0xc1,
    0xeb,
    0xee,
  ],
);
const PATIENCE = { timeoutMs: 120_000 };

const say = (what: string) => console.log(`ok ${what}`);
const PVH = ['type="pvh"', "memory=16", "vcpus=1"];
const HVM = ['type="hvm"', "memory=16", "vcpus=1", 'serial="pty"', "vnc=0", "usb=0"];
/** An HVM guest that counts, with QEMU: it starts with that in place of hvmloader. */
const hvmCounting = () => [...HVM, `firmware_override="${pvhImage()}"`];
const counting = () => [...PVH, `kernel="${pvhImage()}"`];

/** Where a domain is destroyed by somebody else: with `end`. */
type Attached = Awaited<ReturnType<typeof attach>>;
const POINTS: Record<string, (vm: Attached, end: () => void) => Promise<void>> = {
  "while it stands": async (vm, end) => {
    end();
    await assert.rejects(async () => void await vm.vcpus[0].registers(), /gone, or being destroyed|is gone/);
    assert.equal((await vm.continue(PATIENCE)).kind, "gone");
  },
  "while it runs": async (vm, end) => {
    const running = vm.continue(PATIENCE);
    setTimeout(end, 200);
    assert.equal((await running).kind, "gone");
  },
  "at a breakpoint": async (vm, end) => {
    await vm.breakpoints.add(gva(STORE));
    assert.equal((await vm.continue(PATIENCE)).kind, "breakpoint");
    end();
    assert.equal((await vm.step()).kind, "gone");
  },
  "in the middle of steps": async (vm, end) => {
    setTimeout(end, 300);
    assert.equal((await vm.step(1_000_000)).kind, "gone");
  },
};

const PARTS: Record<string, () => Promise<void> | void> = {
  store,
  listener: () => withDomain("fault-heard", counting(), listener),
  ends: async () => {
    await withDomain("fault-dies", [...PVH, `kernel="${image(DIES)}"`], dies);
    await reborn();
    await destroyed();
  },
  frames: async () => {
    await withDomain("fault-frames", counting(), frames);
    await withDomain("fault-mapped", [...PVH, `kernel="${image(MAPS)}"`], mapped);
  },
  room: () =>
    withDomain("fault-room", ['type="pv"', `kernel="${fullImage()}"`, "memory=16", "vcpus=1"], room),
  device: async () => {
    await alone();
    await withDomain("fault-device", counting(), beside);
    await withDomain("fault-device-hvm", hvmCounting(), async (name) => {
      await beside(name);
      await onBus(name);
    });
  },
};

if (import.meta.main) {
  const [first] = Deno.args;
  if (first === INSIDE) await withoutStore();
  else {
    for (const part of Deno.args.length > 0 ? Deno.args : Object.keys(PARTS)) await PARTS[part]();
    say("all of it");
  }
}

function image(code: readonly number[]): string {
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, pvhElf(code));
  return path;
}

/** A xenstored that was killed: for this program alone, since a host without one can't be helped. */
function store(): void {
  const script = `mount -t tmpfs none ${STORE_FOLDER} && exec "$@"`;
  const program = [Deno.execPath(), "run", "-q", "-A", "--no-check", import.meta.filename!, INSIDE];
  const { success, stdout, stderr } = new Deno.Command("unshare", {
    args: ["-m", "timeout", "300", "sh", "-c", script, "sh", ...program],
    stdin: "null",
  }).outputSync();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assert.ok(success, `${text(stdout)}${text(stderr)}`);
  console.log(text(stdout).trimEnd());
}

async function withoutStore(): Promise<void> {
  const path = `${STORE_FOLDER}/socket`;
  const listener = Deno.listen({ transport: "unix", path });
  Deno.renameSync(path, `${path}.killed`);
  listener.close();
  Deno.renameSync(`${path}.killed`, path);
  const said = { message: /^xs_open failed: ECONNREFUSED/, remedy: /^Is xenstored there\?/ };
  await assert.rejects(domains(), said);
  await assert.rejects(attach({ backend: "xen", domain: 1 }), said);
  assert.throws(() => xl("list"), /xl list failed: .*(xenstore|xs_open|Connection refused)/s);
  await assert.rejects(open({ backend: "xen-pvh", memory: 4 << 20 }), /xl create failed: /);
  Deno.removeSync(path);
  await assert.rejects(domains(), /xs_open failed: ENOENT/);
  assert.throws(() => xl("list"), /xl list failed/);
  say(
    "a xenstored that was killed, and one that was never there, are told of by hvsh and by xl, in a moment",
  );
}

/** Each domain has one listener to its vm_events. */
async function listener(name: string): Promise<void> {
  xl("unpause", name);
  using control = new XenControl();
  const { id } = (await domains()).find((domain) => domain.name === name)!;
  {
    using channels = new EventChannels();
    const { ring, port } = control.enableMonitor(id);
    using _ring = ring;
    const bound = channels.bind(id, port);
    await using vm = await attach({ backend: "xen", domain: name });
    assert.equal((await vm.memory.read(gpa(ENTRY), LOOP.length)).length, LOOP.length);
    const stop = await vm.step();
    assert.equal(stop.kind, "fault");
    const { message, remedy } = stop.error as HostError;
    assert.match(message, /^xc_monitor_enable failed: EBUSY/);
    assert.match(remedy!, /^Each domain has one monitor: end the other program/);
    say("another listener to vm_events: what is looked at is there, a step is refused with what to do");
    await vm.close();
    channels.unbind(bound);
    control.disableMonitor(id);
  }
  await runs(name);
  await using vm = await attach({ backend: "xen", domain: name });
  assert.equal((await vm.step()).kind, "step");
  say("when it has gone, a step is taken");
}

/** Domains that end by themselves, and stay. */
async function dies(name: string): Promise<void> {
  xl("unpause", name);
  {
    await using vm = await attach({ backend: "xen", domain: name });
    const stop = await vm.continue(PATIENCE);
    assert.equal(stop.kind, "shutdown");
    assert.equal(stop.rip, BigInt(ENTRY));
    say(`a domain that dies under the debugger: ${stop.kind === "shutdown" && stop.reason}`);
  }
  await using vm = await attach({ backend: "xen", domain: name });
  const { rip } = await vm.vcpus[0].registers();
  assert.equal(rip, BigInt(ENTRY));
  assert.deepEqual([...await vm.memory.read(gpa(ENTRY), DIES.length)], DIES);
  assert.equal((await vm.continue(PATIENCE)).kind, "shutdown");
  assert.equal((await vm.step()).kind, "shutdown");
  say("one that was preserved is looked at, and does not go on");
}

/** A domain that its guest reboots: its toolstack makes another of that name. */
async function reborn(): Promise<void> {
  const name = "fault-reborn";
  createPaused(name, [...counting(), 'on_reboot="restart"', 'on_crash="destroy"']);
  try {
    xl("unpause", name);
    const { id } = (await domains()).find((domain) => domain.name === name)!;
    await using vm = await attach({ backend: "xen", domain: name });
    await vm.memory.write(gpa(ENTRY), Uint8Array.from(DIES));
    await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
    const stop = await vm.continue(PATIENCE);
    assert.ok(stop.kind === "gone" || stop.kind === "shutdown" && stop.reason === "reset", stop.kind);
    const again = async () => (await domains()).find((domain) => domain.name === name && domain.id !== id);
    for (const end = performance.now() + PATIENCE.timeoutMs; await again() === undefined;) {
      assert.ok(performance.now() < end, "xl makes no other domain");
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    assert.equal((await vm.continue(PATIENCE)).kind, "gone");
    await vm.close();
    await runs(name);
    say(
      `a domain that its guest rebooted under the debugger: ${stop.kind}, then gone; its name leads to the next one`,
    );
  } finally {
    destroy(name);
  }
}

/** One that somebody else destroys, at each point. */
async function destroyed(): Promise<void> {
  const name = "fault-gone";
  for (const [point, body] of Object.entries(POINTS)) {
    createPaused(name, counting());
    let there = true;
    const end = () => {
      destroy(name);
      there = false;
    };
    try {
      xl("unpause", name);
      await using vm = await attach({ backend: "xen", domain: name });
      await body(vm, end);
      say(`destroyed by somebody else ${point}`);
    } finally {
      if (there) destroy(name);
    }
  }
}

/** Frames that are no memory of the guest's. */
async function frames(name: string): Promise<void> {
  xl("unpause", name);
  await using vm = await attach({ backend: "xen", domain: name });
  const { id } = (await domains()).find((domain) => domain.name === name)!;
  using control = new XenControl();
  const ballooned = 0x800;
  assert.equal((await vm.memory.read(gpa(BigInt(ballooned) << 12n), 4)).length, 4);
  await vm.continue({ timeoutMs: 100 });
  control.takeBack(id, BigUint64Array.of(BigInt(ballooned)));
  const nothing = { name: "FaultError" };
  const lapic = 0xfee0_0000n;
  for (const address of [BigInt(ballooned) << 12n, lapic, 0xffff_ffff_f000n]) {
    await assert.rejects(vm.memory.read(gpa(address), 4), nothing, address.toString(16));
    await assert.rejects(vm.memory.write(gpa(address), Uint8Array.of(1)), nothing, address.toString(16));
  }
  // Those of xenstore and the console, which dom0 has mapped, are memory of the guest's as any other.
  const granted = (await inspectDomain(name)).grants?.find(({ domain }) => domain === 0);
  assert.ok(granted !== undefined);
  const page = gpa(granted.frame << 12n);
  const words = await vm.memory.read(page, 4096);
  await vm.memory.write(page, words);
  assert.deepEqual(await vm.memory.read(page, 4096), words);
  const found = await vm.memory.search(Uint8Array.from(LOOP), { from: gpa(0n), to: gpa(16n << 20n) });
  assert.ok(found.some((at) => at + 0n === BigInt(ENTRY)), `${found}`);
  say(
    "frames that were ballooned away, MMIO, and beyond all memory are faults; a search goes past them; a granted one is memory",
  );
}

/** A page of dom0's that the guest has mapped by a grant: Xen maps it for nobody else. */
async function mapped(name: string): Promise<void> {
  const { id } = (await domains()).find((domain) => domain.name === name)!;
  using grant = new Granted(id);
  await using vm = await attach({ backend: "xen", domain: name });
  const at = 0x80_0000n;
  const before = await vm.memory.read(gpa(at), 4);
  assert.equal(before.length, 4);
  const order = new DataView(new ArrayBuffer(32));
  order.setBigUint64(0, at, true);
  order.setUint32(8, 2, true); // GNTMAP_host_map
  order.setUint32(12, grant.reference, true);
  order.setInt16(18, -1, true);
  await vm.memory.write(gpa(MAP), new Uint8Array(order.buffer));
  // Paused as xl made it: it has not run yet.
  xl("unpause", name);
  await vm.continue({ timeoutMs: 300 });
  const status = await vm.memory.readUint(gpa(MAP + 18n), 2);
  assert.equal(status, 0n, "Xen maps the grant");
  for (const access of [() => vm.memory.read(gpa(at), 4), () => vm.memory.write(gpa(at), Uint8Array.of(1))]) {
    await assert.rejects(access, { name: "FaultError" });
  }
  const pages = await vm.memory.search(Uint8Array.from(MAPS), { from: gpa(0n), to: gpa(16n << 20n) });
  assert.ok(pages.some((found) => found + 0n === BigInt(ENTRY)), `${pages}`);
  say("a frame of another domain's, mapped by a grant, is a fault, and a search goes past it");
}

/** The fixture without a byte of padding. */
function fullImage(): string {
  const image = Deno.readFileSync(IMAGE);
  for (let at = 0, run = 0; at <= image.length; at++) {
    if (image[at] === INT3) run++;
    else {
      if (run >= 32) image.fill(NOP, at - run, at);
      run = 0;
    }
  }
  const path = Deno.makeTempFileSync();
  Deno.writeFileSync(path, image);
  return path;
}

/** A PV kernel that the stub finds no room in, and machine frames that are another's. */
async function room(name: string): Promise<void> {
  xl("unpause", name);
  await untilItLoops(name);
  const before = traces(name);
  {
    await using vm = await attach({ backend: "xen", domain: name });
    vm.symbols.add("pv", Deno.readFileSync(IMAGE));
    const none = /its kernel has no 62 bytes of padding \(INT3\) near 0x[0-9a-f]+ for the stop stub/;
    const stop = await vm.step();
    assert.ok(stop.kind === "fault" && none.test(`${stop.error}`), stop.kind);
    await assert.rejects(vm.breakpoints.add(symbol(vm, "body")), none);
    assert.deepEqual([...vm.breakpoints], []);
    // Without a stop it runs all the same.
    assert.equal((await vm.continue({ timeoutMs: 100 })).kind, "timeout");
    say(`a PV kernel without room for the stub: ${(stop.error as Error).message}`);
    const xens = gpa((1n << 56n) + 0x1000n);
    await assert.rejects(vm.memory.read(xens, 4), /machine address 0x1000 is not this domain's memory/);
    await assert.rejects(
      vm.memory.write(xens, Uint8Array.of(1)),
      /machine address 0x1000 is not this domain's/,
    );
    say("machine frames of another's are told of");
  }
  assert.equal(traces(name), before);
  await using vm = await attach({ backend: "xen", domain: name });
  const { rax } = await vm.vcpus[0].registers();
  await vm.continue({ timeoutMs: 300 });
  assert.notEqual((await vm.vcpus[0].registers()).rax, rax);
  say("and it goes on, as it was");
}

/** A device that throws for a while. */
function broken() {
  const device = {
    name: "broken",
    ports: { start: 0x777, length: 1 },
    works: false,
    written: [] as number[],
    read: () => {},
    write: (_offset: number, [value]: Uint8Array) => {
      if (!device.works) throw new RangeError("out of order");
      device.written.push(value);
    },
  };
  return device;
}

/** It stops the machine, as often as it is come to, and its instruction is not lost. */
async function outOfOrder(vm: Attached, device: ReturnType<typeof broken>): Promise<void> {
  for (let times = 0; times < 2; times++) {
    const stop = await vm.continue(PATIENCE);
    assert.ok(stop.kind === "fault", stop.kind);
    assert.match(`${stop.reason} ${stop.error}`, /broken.*out of order/s);
  }
  device.works = true;
  assert.equal((await vm.continue({ timeoutMs: 500 })).kind, "timeout");
  assert.ok(device.written.length > 1);
}

/** The device model of a PVH guest is hvsh alone. */
async function alone(): Promise<void> {
  const device = broken();
  const name = await (async () => {
    // mov edx, 0x777; 1: out dx, al; jmp 1b
    const boot = flat(Uint8Array.of(0xba, 0x77, 0x07, 0, 0, 0xee, 0xeb, 0xfd), {
      at: 0x1000,
      mode: "protected",
    });
    await using vm = await open({ backend: "xen-pvh", memory: 16 << 20, boot, devices: [device] });
    await outOfOrder(vm, device);
    return (await domains()).find(({ name }) => name.startsWith(`hvsh-${Deno.pid}-`))!.name;
  })();
  assert.equal((await domains()).find((domain) => domain.name === name), undefined);
  say(
    "a device that throws, in a guest of hvsh's own, stops it with its error; the guest is ended with its machine",
  );
}

/** One in a guest of others, which goes on without it, as does its QEMU if it has one. */
async function beside(name: string): Promise<void> {
  xl("unpause", name);
  const { id, kind } = (await domains()).find((domain) => domain.name === name)!;
  const channels = async () => (await inspectDomain(name)).channels.length;
  const before = await channels();
  {
    await using vm = await attach({ backend: "xen", domain: name });
    const device = broken();
    const card = await vm.devices.add(device);
    const kept = await vm.memory.read(gpa(ENTRY), LOOP.length);
    // mov dx, 0x777; out dx, al; jmp back
    await vm.memory.write(gpa(ENTRY), Uint8Array.of(0x66, 0xba, 0x77, 0x07, 0xee, 0xeb, 0xfd));
    await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
    await outOfOrder(vm, device);
    device.works = false;
    assert.equal((await vm.continue(PATIENCE)).kind, "fault");
    await card.remove();
    await vm.memory.write(gpa(ENTRY), kept);
    await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
  }
  await runs(name);
  assert.equal(await channels(), before);
  if (kind === "hvm") assert.ok(qemuSlots(id).has(1));
  say(
    `a device that throws, in a ${kind} guest of others, stops it with its error; the guest goes on without it`,
  );
}

/** A PCI function beside QEMU's that throws when it is looked at. */
async function onBus(name: string): Promise<void> {
  const { id } = (await domains()).find((domain) => domain.name === name)!;
  const inside = { works: false, read: 0 };
  class Broken extends PciFunction {
    override configRead(offset: number, size: 1 | 2 | 4): number {
      if (!inside.works) throw new RangeError("out of order");
      inside.read++;
      return super.configRead(offset, size);
    }
  }
  {
    await using vm = await attach({ backend: "xen", domain: name });
    const card = await vm.devices.add(new Broken("broken", { vendor: 1, device: 2, classCode: 0xff_00_00 }));
    const kept = await vm.memory.read(gpa(ENTRY), LOOK.length);
    await vm.memory.write(gpa(ENTRY), LOOK);
    await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
    for (let times = 0; times < 2; times++) {
      const stop = await vm.continue(PATIENCE);
      assert.ok(stop.kind === "fault", stop.kind);
      assert.match(`${stop.reason} ${stop.error}`, /pci.*out of order/s);
    }
    inside.works = true;
    assert.equal((await vm.continue({ timeoutMs: 500 })).kind, "timeout");
    assert.ok(inside.read > 1);
    // QEMU's own are where they were: PIIX3.
    await vm.memory.writeUint(gpa(ENTRY + 1), 4, 0x8000_0800n);
    await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
    assert.equal((await vm.continue({ timeoutMs: 500 })).kind, "timeout");
    await vm.step(8);
    assert.equal((await vm.vcpus[0].registers()).rcx, 0x7000_8086n);
    await card.remove();
    await vm.memory.write(gpa(ENTRY), kept);
    await vm.vcpus[0].setRegisters({ rip: BigInt(ENTRY) });
  }
  await runs(name);
  assert.ok(qemuSlots(id).has(1));
  say("a PCI function that throws stops the guest with its error; the guest, QEMU and its functions go on");
}
