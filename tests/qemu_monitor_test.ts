/** What QEMU's monitor is asked for: states, disks, network cards, its screen. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { decode } from "npm:fast-png@8.0.0";
import { firmware, flat, gpa, hosts, InputError, open } from "../mod.ts";
import { emptyQcow2 } from "../src/remote/qemu/empty_qcow2.ts";
import { readPpm } from "../src/remote/qemu/ppm.ts";
import { reportError } from "../src/repl/error.ts";

const qemu = (await hosts()).find((host) => host.backend === "qemu");
const ignore = qemu?.usable !== true;
if (qemu?.usable === false) console.log(`skipped: QEMU: ${qemu.reason}`);

/** In real mode: inc ax; add bx, ax; mov [0x2000], ax; jmp. */
const LOOP = Uint8Array.of(0x40, 0x01, 0xc3, 0x89, 0x06, 0x00, 0x20, 0xeb, 0xf7);
const MEMORY = 1 << 20;

async function inFolder(body: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** A TCP port that nobody listens on at this moment. */
function freePort(): number {
  using listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  return listener.addr.port;
}

Deno.test({
  name: "states are saved and put back; disks and network cards are plugged in; the screen is seen",
  ignore,
  fn: () =>
    inFolder(async (folder) => {
      await using vm = await open({ backend: "qemu", memory: MEMORY, boot: flat(LOOP, { at: 0x1000 }) });
      const { monitor } = vm;
      assert.ok(monitor !== undefined);
      await vm.step(9);
      // QEMU drains and flushes the disks it has at each stop: it has none until one is needed.
      const disks = async () => (await monitor.execute("query-named-block-nodes") as unknown[]).length;
      assert.equal(await disks(), 0);
      await monitor.save("here");
      assert.ok(await disks() > 0);
      await vm.step(90);
      await monitor.load("here");
      assert.deepEqual([(await vm.vcpus[0].registers()).rax, vm.lastStop], [3n, undefined]);
      assert.equal((await vm.step()).registers.rbx, 6n);
      await assert.rejects(monitor.load("nothing"), /QEMU/);
      await assert.rejects(monitor.save("a b"), InputError);
      await Deno.writeFile(`${folder}/disk.img`, new Uint8Array(1 << 20));
      const disk = await monitor.addDisk(`${folder}/disk.img`, { readOnly: true });
      const card = await monitor.addNetwork();
      const pci = await monitor.command("info pci");
      assert.ok(pci.includes(`id "${disk}"`) && pci.includes(`id "${card}"`), pci);
      assert.match(await monitor.command("info network"), /restrict=on/);
      const other = await monitor.addNetwork({
        open: true,
        mac: "52:54:00:00:00:09",
        forwards: [{ hostPort: freePort(), guestPort: 7 }],
        pcap: `${folder}/card.pcap`,
      });
      const network = await monitor.command("info network");
      assert.ok(network.includes(`${other}-pcap`) && network.includes("52:54:00:00:00:09"), network);
      assert.match(await monitor.command("info usernet"), /TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1/);
      // A card that is refused leaves nothing behind: neither its network nor its recording.
      assert.throws(() => monitor.addNetwork({ id: "bad", driver: "none-such", pcap: `${folder}/bad.pcap` }));
      assert.doesNotMatch(await monitor.command("info network"), /bad/);
      await monitor.removeDevice(card);
      assert.throws(() => monitor.addDisk(`${folder}/none`), /none/);
      // QEMU's own words are a sentence for the user: no stack stands behind them.
      assert.throws(() => monitor.execute("nonsense"), (error) => {
        const { message, frames } = reportError(error);
        return /^QEMU refuses nonsense/.test(message) && frames.length === 0;
      });
      await assert.rejects(
        vm.screen.png(),
        /^UnsupportedError: the screen can't be had here: this QEMU has no display/,
      );
    }),
});

const SEABIOS = "/usr/share/seabios/bios.bin";
const rom = await Deno.stat(SEABIOS).then(() => true, () => false);
/** In text mode without a cursor, 2000 characters in all colours that do not blink; then 'B' on COM1; cli; hlt. */
const DRAWS = Uint8Array.of(
  ...[0xb8, 0x03, 0x00, 0xcd, 0x10, 0xb4, 0x01, 0xb9, 0x00, 0x20, 0xcd, 0x10], // int 0x10 twice
  ...[0xb8, 0x00, 0xb8, 0x8e, 0xc0, 0x31, 0xff, 0xfc, 0xb9, 0xd0, 0x07, 0xb8, 0x20, 0x1e],
  ...[0xab, 0x05, 0x01, 0x03, 0x25, 0x7f, 0x7f, 0xe2, 0xf7], // stosw; add ax, 0x301; and ax, 0x7f7f; loop
  ...[0xb0, 0x42, 0xba, 0xf8, 0x03, 0xee, 0xfa, 0xf4],
);
const PATIENCE_MS = 240_000;

Deno.test({
  name: "SeaBIOS in QEMU boots a disk of firmware(), and its screen is the picture that hvsh's own VGA shows",
  ignore: ignore || !rom,
  fn: () =>
    inFolder(async (folder) => {
      const sector = new Uint8Array(512);
      sector.set(DRAWS);
      sector.set([0x55, 0xaa], 510);
      const disk = `${folder}/disk.img`;
      await Deno.writeFile(disk, sector);
      await using vm = await open({ backend: "qemu", boot: firmware(SEABIOS, { disk, snapshot: true }) });
      const stop = await vm.continue({ timeoutMs: PATIENCE_MS });
      assert.equal(stop.kind, "halt");
      assert.ok(vm.console.text.endsWith("B"), vm.console.text);
      assert.deepEqual([...await vm.memory.read(gpa(0x7c00n), 2)], [...DRAWS.subarray(0, 2)]);
      await using own = await open({ backend: "fake", boot: firmware(SEABIOS, { disk, snapshot: true }) });
      assert.equal((await own.continue({ timeoutMs: PATIENCE_MS })).kind, "halt");
      const theirs = decode(await vm.screen.png());
      const ours = decode(await own.screen.png());
      assert.deepEqual([theirs.width, theirs.height, theirs.channels], [ours.width, ours.height, 3]);
      // Six bits of colour are made eight in ways that differ by two.
      const other = theirs.data.findIndex((value, i) => Math.abs(value - ours.data[i]) > 3);
      assert.equal(other, -1, `dot ${other / 3 % ours.width}, line ${other / 3 / ours.width}`);
      assert.ok(new Set(theirs.data).size > 3, "there is something in the picture");
    }),
});

Deno.test("pictures that make no sense are refused; an empty image is of its size", () => {
  assert.deepEqual(
    readPpm(Uint8Array.of(...new TextEncoder().encode("P6\n1 1\n255\n"), 1, 2, 3)).rgb,
    Uint8Array.of(1, 2, 3),
  );
  for (const text of ["", "P5\n1 1\n255\nabc", "P6\n9 9\n255\nabc", "P6\n99999 1\n255\nabc"]) {
    assert.throws(() => readPpm(new TextEncoder().encode(text)), /makes no sense/);
  }
  assert.equal(new DataView(emptyQcow2(1 << 30).buffer).getBigUint64(24), 1n << 30n);
});

Deno.test({
  name: "`info block` tells of the drives that QEMU gives its guest",
  ignore,
  fn: () =>
    inFolder(async (folder) => {
      await Deno.writeFile(`${folder}/cd.iso`, new Uint8Array(64 << 10));
      const shell = [
        "run",
        "-q",
        "-A",
        "--no-check",
        new URL("../src/repl/main.ts", import.meta.url).pathname,
      ];
      const guest = ["--norc", "--backend", "qemu", "-cdrom", `${folder}/cd.iso`];
      const { stdout } = await new Deno.Command(Deno.execPath(), {
        args: [...shell, ...guest, "-c", "info block"],
      })
        .output();
      assert.match(new TextDecoder().decode(stdout), /^ide1-cd0 .*cd\.iso \(raw, read-only\)\n/);
    }),
});
