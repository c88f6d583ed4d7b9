/** Attaching to a QEMU that somebody else started. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { attach, gpa, gva, HostError, hosts, InputError, UnsupportedError } from "../mod.ts";
import { HostStream, waitForStreams } from "../src/host/stream.ts";
import { Links } from "../src/remote/link.ts";
import { regionsOfTree } from "../src/remote/memory_tree.ts";
import { QmpConnection } from "../src/remote/qmp.ts";

const qemu = (await hosts()).find((host) => host.backend === "qemu");
const ignore = qemu?.usable !== true;
if (qemu?.usable === false) console.log(`skipped: attaching to QEMU: ${qemu.reason}`);

/** A ROM whose reset vector counts in AX for ever: inc ax; jmp back. */
function counter(): Uint8Array {
  const rom = new Uint8Array(0x10000).fill(0xf4);
  rom.set([0x40, 0xeb, 0xfd], 0xfff0);
  return rom;
}

/** A socket's path is there a moment before connections are taken (SO_ACCEPTCON, proc(5)). */
async function listens(path: string): Promise<boolean> {
  const sockets = (await Deno.readTextFile("/proc/net/unix")).split("\n");
  return sockets.some((line) => line.endsWith(` ${path}`) && line.split(" ")[3] === "00010000");
}

/** Runs `body` beside a QEMU with stub and monitor in a folder of its own. */
async function withQemu(
  extra: readonly string[],
  body: (address: string, qmp: string, pid: number) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  await Deno.writeFile(`${folder}/rom`, counter());
  const socket = (name: string) => `socket,id=${name},path=${folder}/${name},server=on,wait=off`;
  const child = new Deno.Command("qemu-system-x86_64", {
    args: [
      ...["-nodefaults", "-display", "none", "-accel", "tcg", "-m", "2", "-bios", `${folder}/rom`],
      ...["-chardev", socket("gdb"), "-gdb", "chardev:gdb", "-chardev", socket("qmp")],
      ...["-mon", "chardev=qmp,mode=control", ...extra],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    for (let i = 0; i < 500 && !await listens(`${folder}/qmp`); i++) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await body(`unix:${folder}/gdb`, `unix:${folder}/qmp`, child.pid);
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  }
}

/** Whether QEMU says that its guest runs. */
function runs(qmp: string): boolean {
  using links = new Links({ wait: (streams: readonly HostStream[], ms) => waitForStreams(streams, ms) });
  const monitor = new QmpConnection(links, HostStream.unix(qmp.slice(5)));
  return (monitor.execute("query-status") as { running: boolean }).running;
}

Deno.test({
  name: "a running guest is stopped, looked at, stepped and broken into, and runs on when it is left",
  ignore,
  async fn() {
    for (const monitor of [true, false]) {
      await withQemu([], async (address, qmp) => {
        {
          await using vm = await attach({ backend: "gdb", address, ...(monitor && { qmp }) });
          assert.equal(vm.backend, "gdb");
          const { rip, cs_base, cr0 } = await vm.vcpus[0].registers();
          assert.ok([0xfff0n, 0xfff1n].includes(rip), rip.toString(16));
          assert.deepEqual([cs_base, cr0 & 1n], [0xffff0000n, 0n], "the descriptor cache is QEMU's");
          const bp = await vm.breakpoints.add(gva(0xfffffff1n));
          const before = (await vm.vcpus[0].registers()).rax & 0xffffn;
          const stop = await vm.continue({ timeoutMs: 10_000 });
          assert.equal(stop.kind === "breakpoint" && stop.breakpoint, bp);
          assert.equal((await vm.step()).rip, 0xfff0n);
          assert.ok((await vm.vcpus[0].registers()).rax - before <= 2n);
          assert.deepEqual([...await vm.memory.read(gpa(0xfffffff0n), 3)], [0x40, 0xeb, 0xfd]);
          await vm.memory.write(gpa(0x1000), [1, 2, 3]);
          assert.deepEqual([...await vm.vcpus[0].memory.read(gva(0x1000), 3)], [1, 2, 3]);
          assert.ok(vm.memory.regions.some((region) => region.readOnly && region.start === 0xffff0000n));
          await assert.rejects(
            () => vm.devices.add({ name: "x", ports: { start: 1, length: 1 } }),
            UnsupportedError,
          );
          // Its console is where QEMU was told to put it: what is typed here would be lost.
          await assert.rejects(() => vm.console.send("x"), UnsupportedError);
          assert.throws(() => vm.screen.text, UnsupportedError);
          if (!monitor) {
            await assert.rejects(() => vm.reset(), UnsupportedError);
            await assert.rejects(() => vm.screen.png(), /GDB stub does not show it/);
          }
        }
        assert.equal(runs(qmp), true);
      });
    }
  },
});

Deno.test({
  name: "a guest that was found paused is left paused",
  ignore,
  async fn() {
    await withQemu(["-S"], async (address, qmp) => {
      const vm = await attach({ backend: "gdb", address, qmp });
      assert.equal((await vm.step()).rip, 0xfff1n);
      await vm.close();
      assert.equal(runs(qmp), false);
    });
  },
});

Deno.test({
  name: "a QEMU that was frozen is given up, and goes on without breakpoints once it is let",
  ignore,
  async fn() {
    await withQemu([], async (address, qmp, pid) => {
      const vm = await attach({ backend: "gdb", address });
      assert.equal((await vm.continue({ timeoutMs: 20 })).kind, "timeout");
      await vm.breakpoints.add(gva(0xffff1n));
      await vm.breakpoints.add(gva(0x1000n), { access: "write", size: 4 });
      Deno.kill(pid, "SIGSTOP");
      try {
        assert.equal((await vm.step()).kind, "gone");
        await vm.close();
      } finally {
        Deno.kill(pid, "SIGCONT");
      }
      // With a breakpoint left in its loop it would stop at once.
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal(runs(qmp), true);
    });
  },
});

Deno.test("an address that is none, or where nobody listens, is refused", async () => {
  const at = (address: string) => attach({ backend: "gdb", address });
  await assert.rejects(() => at("nonsense"), InputError);
  await assert.rejects(() => at("127.0.0.1:99999"), InputError);
  const nobody = (error: unknown) => error instanceof HostError && /-s\b/.test(error.remedy ?? "");
  await assert.rejects(() => at("127.0.0.1:1"), nobody);
  await assert.rejects(() => attach(undefined as never), InputError);
  await assert.rejects(() => at("unix:/nowhere/at/all"), HostError);
  await assert.rejects(() => attach({ backend: "xen", domain: 1 }), UnsupportedError);
});

Deno.test("the memory tree: runs of a block are one region, what is no memory is left out", () => {
  const text = `FlatView #0
 AS "I/O", root: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan
FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
  00000000000c0000-00000000000c3fff (prio 0, rom): pc.ram @00000000000c0000
  00000000000c4000-00000000000cffff (prio 0, rom): pc.ram @00000000000c4000
  0000000000100000-0000000000ffffff (prio 0, ram): pc.ram @0000000000100000 KVM
`;
  assert.deepEqual(regionsOfTree(text).map(({ start, size, readOnly }) => [start, size, readOnly]), [
    [0n, 0xa0000n, false],
    [0xc0000n, 0x10000n, true],
    [0x100000n, 0xf00000n, false],
  ]);
  assert.deepEqual(regionsOfTree("nothing of the kind"), []);
});
