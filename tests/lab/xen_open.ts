/**
 * Guests of our own on Xen, as a program for dom0 of a Xen lab:
 * `deno run -A --no-check tests/lab/xen_open.ts pvh|pv|hvm|firmware|devices|pci|beside|cpus|left`.
 * A line for each case that held; an error for the first that did not. Leaves no domain behind.
 */
import assert from "node:assert/strict";
import {
  attach,
  bootSector,
  cleanDomains,
  type Device,
  domains,
  elf,
  firmware,
  flat,
  gpa,
  gva,
  hosts,
  type InterruptLine,
  MiB,
  open,
  Uart16550,
  virtioRng,
} from "../../mod.ts";
import { destroy } from "../../src/xen/xl.ts";
import { OTHERS, severalVcpus, SPIN } from "../several_vcpus.ts";

const FIXTURE = new URL("../../fixtures/three_ways.bin", import.meta.url);
const VIRTIO_PCI = new URL("../../fixtures/virtio_pci.bin", import.meta.url);
/** inc ax; mov [0x4000], ax; 1: jmp 1b */
const REAL = Uint8Array.of(0x40, 0xa3, 0x00, 0x40, 0xeb, 0xfe);
/** inc rax; mov [rbx], rax; 1: jmp 1b */
const LONG = Uint8Array.of(0x48, 0xff, 0xc0, 0x48, 0x89, 0x03, 0xeb, 0xfe);
/** 1: inc word [0x4000]; jmp 1b */
const COUNTING = [0xff, 0x06, 0x00, 0x40, 0xeb, 0xfa];
/** Real mode: mov dx, 0x777; 1: mov al, 1; out dx, al; in al, dx; inc word [0x4000]; jmp 1b */
const ASKING_REAL = [...hex("ba7707 b001 ee ec ff060040 ebf6")];
/** Protected mode, with 2 and dword [0x4002]. */
const ASKING = [...hex("ba77070000 b002 ee ec ff0502400000 ebf4")];
const SEABIOS = "/usr/share/seabios/bios-256k.bin";

/**
 * Real mode, with segments that reach far: DS the IOAPIC, ES the LAPIC, FS the window. mov dword es:[0xf0], 0x1ff: the
 * LAPIC is on; IOAPIC entry 4 is vector 0x30; mov fs:[5], bl; mov al, fs:[6]; sti; UART: interrupt when it can send; jmp $
 */
const SERVED = hex(
  "6626c706f000ff010000 66c706000018000000 66c706100030000000 64881e0500 64a00600 fb baf903b002ee ebfe",
);
/** in al, 0x3fa; inc ah; out 0x3f8, '!'; cli; hlt */
const HANDLER = hex("bafa03ec fec4 baf803b021ee faf4");
const WINDOW = 0xd000_0000n;

/**
 * Real mode beside QEMU, ES and FS as above. The LAPIC is on, with LINT0 as the 8259's way in (ExtINT); mov dword
 * es:[0x350], 0x700. The 8259 has vectors from 8 and lets lines 3 and 5 through; sti; mov fs:[5], bl; until the byte at
 * 0x4000 is 1; COM2: MCR.OUT2, interrupt when it can send; until the byte at 0x4001 is 1. Text of the display, which GS is
 * at: mov gs:[0], ebx; mov gs:[2], bl; mov fs:[9], bl; mov gs:[4], bx; mov al, gs:[6]; mov [0x4003], al; mov ax, 0xb800; mov
 * es, ax; mov di, 8; mov cx, 3; rep stosw; mov gs:[0xe], bl; cli; hlt
 */
const BESIDE = hex(
  "2666c706f000ff010000 2666c706500300070000 b011e620 b008e621 b004e621 b001e621 b0d7e621 fb 64881e0500" +
    "803e00400175f9 bafc02b008ee baf902b002ee 803e01400175f9" +
    "6665891e0000 65881e0200 64881e0900 65891e0400 65a00600 a20340 b800b8 8ec0 fc bf0800 b90300 f3ab 65881e0e00 faf4",
);
/** Line 5: mov al, fs:[6]; mov [0x4002], al; inc byte [0x4000]; end of interrupt; iret */
const WINDOW_HANDLER = hex("64a00600 a20240 fe060040 b020e620 cf");
/** Line 3: in al, 0x2fa; out 0x2f8, '!'; out 0x2f9, 0; inc byte [0x4001]; end of interrupt; iret */
const COM2_HANDLER = hex("bafa02ec baf802b021ee 42b000ee fe060140 b020e620 cf");

/** COM1: '!'; cli; hlt */
const PRINTING = hex("baf803 b021 ee faf4");

/** Nothing here takes that long, unless it never comes. */
const PATIENCE_MS = 120_000;

const say = (what: string) => console.log(`ok ${what}`);
const ours = async () => (await domains()).filter((d) => d.name.startsWith("hvsh-")).map((d) => d.name);

const PARTS: Record<string, () => Promise<void>> = {
  pvh,
  pv,
  hvm,
  firmware: firmwareDisk,
  devices,
  beside,
  cpus,
  pci,
  left,
};

if (import.meta.main) {
  const [part] = Deno.args;
  await PARTS[part]();
  // What is left of them ends with this process: who started it looks.
  console.log(`hvsh-${Deno.pid}-`);
}

/** Flat code in real and in long mode. */
async function blank(backend: "xen-pvh" | "xen-hvm"): Promise<void> {
  {
    await using vm = await open({ backend, memory: MiB(16), boot: flat(REAL, { at: 0x1000 }) });
    assert.equal(vm.backend, backend);
    const stop = await vm.step(2);
    assert.deepEqual([stop.kind, stop.rip, stop.registers.rax, stop.registers.cr0 & 1n], [
      "step",
      0x1004n,
      1n,
      0n,
    ]);
    assert.equal(await vm.memory.readUint(gpa(0x4000n), 2), 1n);
    assert.equal(await vm.memory.readUint(gpa(0x10_0000n), 8), 0n);
  }
  await using vm = await open({ backend, memory: MiB(16), boot: flat(LONG, { at: 0x1000, mode: "long" }) });
  await vm.vcpus[0].setRegisters({ rax: -1n & 0xffff_ffffn, rbx: 0x4000n });
  const stop = await vm.step(2);
  assert.equal(stop.registers.rax, 0x1_0000_0000n);
  assert.equal(await vm.memory.readUint(gpa(0x4000n), 8), 0x1_0000_0000n);
  assert.equal((await vm.continue({ timeoutMs: 50 })).kind, "timeout");
  say(`${backend}: code in real and long mode`);
}

async function pvh(): Promise<void> {
  const host = (await hosts()).find((h) => h.backend === "xen-pvh");
  assert.ok(host?.usable);
  say("hosts knows xen-pvh");
  await blank("xen-pvh");
  {
    await using vm = await open({ backend: "xen-pvh", memory: MiB(16), boot: elf(FIXTURE) });
    assert.equal(vm.boot?.protocol, "pvh");
    const { rip } = await vm.vcpus[0].registers();
    assert.equal(rip, vm.symbols.lookup("start")! - 0xffff_ffff_8000_0000n);
    for (let tries = 0;; tries++) {
      const stop = await vm.continue({ timeoutMs: 500 });
      assert.equal(stop.kind, "timeout");
      if (stop.rip >= vm.symbols.lookup("body")!) break;
      assert.ok(tries < 200, `The guest is at ${stop.rip.toString(16)} and not in its loop.`);
    }
  }
  say("xen-pvh: an ELF kernel by its PVH note");
  await assert.rejects(open({ backend: "xen-pvh", boot: firmware(SEABIOS) }), { name: "UnsupportedError" });
  say("xen-pvh: firmware is refused");
}

/** Three vCPUs, two of them started by INIT and SIPI after the guest was opened. */
async function cpus(): Promise<void> {
  await using vm = await severalVcpus(3, COUNTING, SPIN, "xen-pvh");
  assert.deepEqual(vm.vcpus.map(({ index }) => index), [0, 1, 2]);
  assert.equal((await vm.vcpus[1].registers()).rip, 0xfff0n);
  const count = () => vm.memory.readUint(gpa(0x4000n), 2);
  const counts = async () => {
    const before = await count();
    for (let tries = 0; await count() === before; tries++) {
      assert.ok(tries < 200, "the others don't count");
      assert.equal((await vm.continue({ timeoutMs: 200 })).kind, "timeout");
    }
  };
  await counts();
  for (const vcpu of [1, 2]) assert.equal((await vm.vcpus[vcpu].registers()).cs_base, OTHERS);
  say("xen-pvh: vCPUs that the guest starts are seen");
  const hits = new Set<number>();
  const bp = await vm.breakpoints.add(gva(OTHERS), {
    condition: ({ vcpu }) => (hits.add(vcpu.index), hits.size === 2),
  });
  const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
  assert.deepEqual([stop.kind, stop.rip, [...hits].sort()], ["breakpoint", 0n, [1, 2]]);
  assert.equal((await vm.step({ vcpu: stop.vcpu.index })).rip, 4n);
  await bp.remove();
  await counts();
  say("xen-pvh: a breakpoint that each of two vCPUs hits");
  for (const backend of ["xen-pvh", "xen-hvm"] as const) await shared(backend);
}

/** Two vCPUs that come to the same device at once; then it throws for each of them, and no access is lost. */
async function shared(backend: "xen-pvh" | "xen-hvm"): Promise<void> {
  const written = [0, 0, 0];
  const threw = new Set<number>();
  let works = true;
  await using vm = await severalVcpus(2, ASKING_REAL, ASKING, backend);
  await vm.devices.add({
    name: "shared",
    ports: { start: 0x777, length: 1 },
    write: (_offset, [who]) => {
      written[who]++;
      if (works) return;
      threw.add(who);
      throw new RangeError("out of order");
    },
  });
  const counted = async (who: number) => Number(await vm.memory.readUint(gpa(0x3ffe + 2 * who), 2));
  assert.equal((await vm.continue({ timeoutMs: 3000 })).kind, "timeout");
  works = false;
  for (let tries = 0; threw.size < 2; tries++) {
    assert.ok(tries < 50, "one of them never comes to it");
    assert.equal((await vm.continue({ timeoutMs: PATIENCE_MS })).kind, "fault");
  }
  works = true;
  assert.equal((await vm.continue({ timeoutMs: 3000 })).kind, "timeout");
  for (const who of [1, 2]) {
    const lead = written[who] - await counted(who);
    assert.ok(written[who] > 20 && lead >= 0 && lead <= 1, `${who}: ${written[who]}, ${lead} ahead`);
  }
  say(
    `${backend}: two vCPUs served by one device, ${written[1]} and ${written[2]} accesses; it threw for each`,
  );
}

/** hvsh as the device model: COM1 and an IOAPIC, a window of the test's own, a breakpoint by OUT. */
async function devices(): Promise<void> {
  const seen: number[][] = [];
  const device = {
    name: "window",
    mmio: { start: WINDOW, length: 0x10 },
    read: (offset: number, data: Uint8Array) => void data.fill(0x40 + offset),
    write: (offset: number, data: Uint8Array) => void seen.push([offset, ...data]),
  };
  await using vm = await open({
    backend: "xen-pvh",
    memory: 0x80000,
    boot: flat(SERVED, { at: 0x1000, mode: "real" }),
    devices: [device],
  });
  await vm.memory.writeUint(gpa(4n * 0x30n), 4, 0x2000n);
  await vm.memory.write(gpa(0x2000n), HANDLER);
  await vm.vcpus[0].setRegisters({
    ds_base: 0xfec0_0000n,
    es_base: 0xfee0_0000n,
    fs_base: WINDOW,
    rbx: 7n,
    rsp: 0x3000n,
  });
  const bp = await vm.breakpoints.add(gva(0x2000n));
  assert.equal(bp.how, "out");
  const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
  assert.deepEqual([stop.kind, stop.rip], ["breakpoint", 0x2000n], "reason" in stop ? stop.reason : "");
  assert.deepEqual(seen, [[5, 7]]);
  say("an interrupt of COM1 by the IOAPIC, a window of MMIO, a breakpoint by OUT");
  const step = await vm.step(2);
  assert.deepEqual([step.rip, step.registers.rax & 0xfn], [0x2004n, 2n], "IIR: it can send");
  const end = await vm.continue({ timeoutMs: PATIENCE_MS });
  assert.deepEqual([end.kind, vm.console.text], ["halt", "!"]);
  say("a step of IN, the console, and HLT for good");
  await vm.reset();
  assert.equal((await vm.vcpus[0].registers()).rip, 0x1000n);
  assert.equal((await vm.step()).rip, 0x100an);
  say("a reset");
}

/** A PCI function whose MSI-X wakes the guest: fixtures/virtio_pci.s asks for 16 random bytes. */
async function pci(): Promise<void> {
  await using vm = await open({
    backend: "xen-pvh",
    memory: MiB(4),
    boot: flat(await Deno.readFile(VIRTIO_PCI), { at: 0x1_0000, mode: "protected" }),
    devices: [virtioRng({ transport: "pci" })],
  });
  await vm.memory.write(gpa(0x1_0004n), new Uint8Array(Uint32Array.of(0, 16, 0, 0, 1).buffer));
  const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
  assert.deepEqual([stop.kind, "code" in stop && stop.code >> 1], ["exit", 16]);
  say("xen-pvh: a PCI function, found by ports 0xcf8 and 0xcfc, with MSI-X");
}

/** A UART and devices with MMIO, two with interrupts, in an HVM guest that has QEMU's devices too. */
async function beside(): Promise<void> {
  const seen: (number | string)[][] = [];
  const sent: number[] = [];
  let line: InterruptLine | undefined;
  const window: Device = {
    name: "window",
    mmio: { start: WINDOW, length: 0x10 },
    attach: (host) => void (line = host.line(5)),
    read: (offset, data) => (line?.lower(), void data.fill(0x40 + offset)),
    write: (offset, data) => {
      if (offset === 5) line?.raise();
      seen.push([offset, ...data]);
    },
  };
  // Xen buffers writes there for device models that want it.
  const text: Device = {
    name: "text",
    mmio: { start: 0xb8000, length: 0x1000 },
    read: (offset, data) => (seen.push(["read", offset]), void data.fill(0x40 + offset)),
    write: (offset, data) => void seen.push(["text", offset, ...data]),
  };
  const com2 = new Uart16550({
    name: "com2",
    base: 0x2f8,
    irq: 3,
    sink: (bytes) => void sent.push(...bytes),
  });
  await using vm = await open({
    backend: "xen-hvm",
    memory: MiB(16),
    boot: flat(BESIDE, { at: 0x1000, mode: "real" }),
    devices: [window, com2, text],
  });
  for (const [line, at, code] of [[3, 0x2100, COM2_HANDLER], [5, 0x2000, WINDOW_HANDLER]] as const) {
    await vm.memory.writeUint(gpa(4 * (8 + line)), 4, BigInt(at));
    await vm.memory.write(gpa(at), code);
  }
  await vm.vcpus[0].setRegisters({
    es_base: 0xfee0_0000n,
    fs_base: WINDOW,
    gs_base: 0xb8000n,
    rbx: 7n,
    rsp: 0x3000n,
  });
  const end = await vm.continue({ timeoutMs: PATIENCE_MS });
  assert.equal(end.kind, "halt", `${end.kind} at 0x${end.rip.toString(16)}`);
  assert.deepEqual(seen, [
    [5, 7],
    ["text", 0, 7, 0, 0, 0],
    ["text", 2, 7],
    [9, 7],
    ["text", 4, 7, 0],
    ["read", 6],
    ...[8, 10, 12].map((offset) => ["text", offset, 0, 0xb8]),
    ["text", 14, 7],
  ]);
  assert.deepEqual([...await vm.memory.read(gpa(0x4000), 4)], [1, 1, 0x46, 0x46]);
  assert.deepEqual(sent, [0x21]);
  say("xen-hvm: COM2 and a window of MMIO in TypeScript beside QEMU, with their interrupts by Xen's 8259");
  say("xen-hvm: writes to the display's memory in their order among all accesses, without a buffered ring");
}

async function pv(): Promise<void> {
  {
    await using vm = await open({ backend: "xen-pv", memory: MiB(16), boot: elf(FIXTURE) });
    assert.equal(vm.boot?.protocol, "xen-pv");
    assert.equal((await vm.vcpus[0].registers()).rip, vm.symbols.lookup("pv_start"));
    const running = vm.continue({ timeoutMs: 20_000 });
    await vm.console.expect(/three ways/, { timeoutMs: 15_000 });
    await vm.pause();
    await running;
  }
  say("xen-pv: an ELF kernel by its notes, and its console");
  await assert.rejects(open({ backend: "xen-pv", boot: flat(LONG) }), { name: "UnsupportedError" });
  say("xen-pv: flat code is refused");
}

async function hvm(): Promise<void> {
  await blank("xen-hvm");
  await using sector = await open({ backend: "xen-hvm", memory: MiB(16), boot: bootSector(sectorOf(REAL)) });
  assert.equal((await sector.vcpus[0].registers()).rip, 0x7c00n);
  assert.equal((await sector.step()).registers.rip, 0x7c01n);
  say("xen-hvm: a boot sector");
}

/** hvmloader, SeaBIOS and QEMU's disk. */
async function firmwareDisk(): Promise<void> {
  const disk = Deno.makeTempFileSync({ suffix: ".img" });
  try {
    Deno.writeFileSync(disk, sectorOf(PRINTING));
    Deno.truncateSync(disk, 1 << 20);
    await using vm = await open({ backend: "xen-hvm", memory: MiB(32), boot: firmware(SEABIOS, { disk }) });
    const end = await vm.continue({ timeoutMs: PATIENCE_MS });
    assert.deepEqual([end.kind, end.rip, vm.console.text.trim()], ["halt", 0x7c08n, "!"]);
    assert.deepEqual(await vm.memory.read(gpa(0x7c00n), PRINTING.length), PRINTING);
    // Behind the HLT that it sleeps in: the boot sector once more, with a breakpoint in it now that it is loaded.
    await vm.breakpoints.add(gva(0x7c05n));
    await vm.vcpus[0].setRegisters({ rip: 0x7c00n });
    const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
    assert.deepEqual([stop.kind, stop.rip], ["breakpoint", 0x7c05n]);
    assert.equal((await vm.step()).rip, 0x7c06n);
    assert.equal((await vm.continue({ timeoutMs: PATIENCE_MS })).kind, "halt");
    assert.equal(vm.console.text.trim(), "!!");
  } finally {
    Deno.removeSync(disk);
  }
  say("xen-hvm: SeaBIOS boots a disk; a breakpoint in its boot sector, which runs once more");
}

/** What a killed hvsh leaves is found; what was kept is left alone. */
async function left(): Promise<void> {
  const before = await ours();
  const program = `import { flat, open } from ${
    JSON.stringify(new URL("../../mod.ts", import.meta.url).href)
  };
    const vm = await open({ backend: "xen-pvh", memory: 16 << 20, boot: flat(Uint8Array.of(0xeb, 0xfe)) });
    if (Deno.args[0] === "keep") { vm.keep(); await vm.close(); } else Deno.kill(Deno.pid, "SIGKILL");`;
  const file = Deno.makeTempFileSync({ suffix: ".ts" });
  Deno.writeTextFileSync(file, program);
  const run = (how: string) =>
    new Deno.Command(Deno.execPath(), { args: ["run", "-A", "--no-check", file, how] }).output();
  await run("killed");
  const after = (await ours()).filter((name) => !before.includes(name));
  assert.equal(after.length, 1);
  const { success } = await run("keep");
  assert.ok(success);
  assert.deepEqual(await cleanDomains(), after);
  assert.deepEqual(await cleanDomains(), []);
  const [kept] = (await ours()).filter((name) => !before.includes(name));
  {
    await using vm = await attach({ backend: "xen", domain: kept });
    assert.equal((await vm.vcpus[0].registers()).rip, 0x1000n);
  }
  destroy(kept);
  Deno.removeSync(file);
  say("what a killed hvsh left is cleaned, what was kept is left alone");
}

function hex(text: string): Uint8Array {
  return Uint8Array.from(text.match(/[0-9a-f]{2}/g) ?? [], (byte) => parseInt(byte, 16));
}

function sectorOf(code: Uint8Array): Uint8Array {
  const sector = new Uint8Array(512);
  sector.set(code);
  sector.set([0x55, 0xaa], 510);
  return sector;
}
