import assert from "node:assert/strict";
import fc from "fast-check";
import { planGuest } from "./boot.ts";
import { cardOf } from "./network_words.ts";
import { ShellError } from "./error.ts";
import { brokenHeader, guessFile, guessImage } from "./image.ts";
import { OPTIONS, parseOptions } from "./options.ts";
import { parseSize } from "./size.ts";
import { helpText } from "./usage.ts";

function refused(...argv: string[]): string {
  try {
    parseOptions(argv);
  } catch (error) {
    assert.ok(error instanceof ShellError);
    return `${error.message}. ${error.remedy}`;
  }
  throw new Error(`${argv.join(" ")} was taken`);
}

Deno.test("options: QEMU's names", () => {
  const line = parseOptions([
    "-bios",
    "b.bin",
    "-m",
    "64",
    "-smp",
    "2",
    "--backend",
    "fake",
    "--no-irqchip",
    "--run",
  ]);
  assert.equal(line.bios, "b.bin");
  assert.equal(line.memory, 64 * 2 ** 20);
  assert.equal(line.cpus, 2);
  assert.equal(line.backend, "fake");
  assert.equal(line.irqchip, false);
  assert.equal(line.start, "run");
  assert.equal(parseOptions(["--bios=b.bin"]).bios, "b.bin");
  assert.equal(parseOptions(["--kernel", "k", "-append", "-x"]).append, "-x");
  assert.deepEqual(parseOptions(["-flat", "f.bin,at=0x1000,mode=long"]).flat, {
    file: "f.bin",
    at: 0x1000n,
    mode: "long",
  });
});

Deno.test("options: a kernel gets a VGA, where it is asked for", async () => {
  assert.equal(parseOptions(["-kernel", "k", "-vga", "std"]).vga, true);
  assert.equal(parseOptions(["-bios", "b", "-vga", "none"]).vga, false);
  assert.throws(() => parseOptions(["-vga", "cirrus"]), /-vga cirrus: there is std, and none/);
  const { options } = await planGuest(parseOptions(["-vga", "std"]));
  assert.equal(options.vga, true);
});

Deno.test("options: actions keep their order", () => {
  assert.deepEqual(parseOptions(["-c", "a; b", "-x", "f", "-c", "-q"]).actions, [
    { kind: "command", text: "a; b" },
    { kind: "file", text: "f" },
    { kind: "command", text: "-q" },
  ]);
});

Deno.test("options: drives by QEMU's names", () => {
  const line = parseOptions(["-hda", "a.img", "-cdrom", "b.iso", "-snapshot", "-boot", "order=dc,menu=on"]);
  assert.deepEqual(line.drives, { disk: ["a.img"], cdrom: "b.iso" });
  const floppies = parseOptions(["-fda", "a", "-drive", "file=b,if=floppy", "-boot", "a"]);
  assert.deepEqual(floppies.drives, { disk: [], floppy: ["a", "b"] });
  assert.deepEqual(floppies.boot?.order, ["floppy"]);
  assert.equal(line.snapshot, true);
  assert.deepEqual(line.boot, { order: ["cdrom", "disk"], menu: true });
  const spelled = parseOptions([
    "-drive",
    "file=a,,b.img,format=raw,snapshot=on",
    "-drive",
    "file=c,index=3",
  ]);
  assert.deepEqual(spelled.drives?.disk, ["a,b.img", , , "c"]);
  assert.equal(spelled.snapshot, true);
});

Deno.test("options: QEMU's command lines can be pasted", async () => {
  const line = parseOptions(
    ("-nodefaults -device pc-testdev -device isa-debug-exit,iobase=0xf4,iosize=0x4 -vnc none -serial stdio -machine accel=kvm " +
      "-kernel k.flat -smp 4,sockets=2,cores=2,threads=1 -cpu max,-avx2 -no-reboot -nographic -s " +
      "-drive if=none,id=d0,file=a.img,format=raw -device virtio-blk-pci,drive=d0 " +
      "-drive if=none,id=d1,file=b.iso,media=cdrom -device ide-cd,drive=d1 -drive file=c.qcow2,if=virtio")
      .split(" "),
  );
  assert.deepEqual([line.backend, line.kernel, line.cpus, line.cpu], ["kvm", "k.flat", 4, "host,-avx2"]);
  assert.equal(line.testdev, true);
  assert.deepEqual([line.gdb, line.virtio, line.drives], ["1234", ["a.img", "c.qcow2"], {
    disk: [],
    cdrom: "b.iso",
  }]);
  const alone = await planGuest(parseOptions(["-device", "pc-testdev"]));
  assert.deepEqual(alone.options.devices?.map(({ name }) => name), ["pc-testdev"]);
  const file = await Deno.makeTempFile();
  const printing = await planGuest(parseOptions(["-parallel", `file:${file}`]));
  assert.deepEqual(printing.options.devices?.map(({ name }) => name), ["lpt1"]);
  await Deno.remove(file);
  assert.match(refused("-parallel", "vc"), /-parallel vc can't be had here\. It takes file:PATH/);
  assert.equal(parseOptions(["-accel", "tcg"]).backend, "qemu");
  assert.equal(parseOptions(["-M", "pc,accel=kvm:tcg"]).backend, undefined);
  assert.equal(parseOptions(["-smp", "sockets=2,cores=3"]).cpus, 6);
});

Deno.test("options: QEMU's network cards and virtio devices", async () => {
  const line = parseOptions(
    ("-nic user,hostfwd=tcp::2222-:22,model=virtio -device virtio-net-pci,netdev=n0,mac=52:54:00:00:00:01 -netdev user,id=n0,restrict=on " +
      "-object filter-dump,id=f0,netdev=n0,file=a,,b.pcap -device virtio-rng-pci,rng=r0 -drive file=c,,d.raw,if=virtio -snapshot -nic none")
      .split(" "),
  );
  const { plug, options } = await planGuest(line);
  assert.deepEqual(plug, [
    "virtio-blk-pci c,,d.raw,snapshot=on",
    "virtio-net-pci user,hostfwd=tcp::2222-:22",
    "virtio-net-pci user,restrict=on,pcap=a,,b.pcap,mac=52:54:00:00:00:01",
    "virtio-rng-pci",
  ]);
  assert.deepEqual([options.devices, options.snapshot], [undefined, true]);
  await assert.rejects(planGuest(parseOptions(["-device", "virtio-net-pci,netdev=n1"])), /no netdev n1/);
  assert.match(refused("-netdev", "user"), /lacks its id/);
  assert.match(refused("-nic", "user,model=e1000"), /cards are virtio-net-pci/);
  assert.match(refused("-device", "rtl8139"), /cards are virtio-net-pci/);
  assert.match(refused("-object", "filter-dump,id=f,netdev=n9,file=x"), /no netdev n9/);
});

Deno.test("a network card's words are QEMU's", () => {
  assert.deepEqual(cardOf(""), { network: { restricted: true, forwards: [] } });
  assert.deepEqual(cardOf("open"), cardOf("user,restrict=off"));
  assert.deepEqual(cardOf("mac=52:54:00:00:00:01"), {
    network: { restricted: true, forwards: [] },
    mac: "52:54:00:00:00:01",
  });
  assert.deepEqual(cardOf("user,hostfwd=udp:0.0.0.0:53-10.0.2.16:5353,hostfwd=:8080-:80,pcap=a,,b").network, {
    restricted: false,
    forwards: [
      { protocol: "udp", host: "0.0.0.0", hostPort: 53, guest: "10.0.2.16", guestPort: 5353 },
      { protocol: "tcp", hostPort: 8080, guestPort: 80 },
    ],
  });
  assert.deepEqual(cardOf("tap,ifname=tap0,script=no,downscript=no"), { network: { tap: "tap0" } });
  const wrong: [string, RegExp][] = [
    ["always", /can't be on "always"/],
    ["user,hostfwd=2222-22", /hostfwd does not understand/],
    ["user,ifname=tap0", /does not understand `ifname=tap0`/],
    ["tap,ifname=tap0,script=\/etc\/qemu-ifup", /does not understand `script/],
    ["tap", /lacks its interface/],
    ["user,", /does not understand/],
  ];
  for (const [words, told] of wrong) assert.throws(() => cardOf(words), told, words);
});

Deno.test("options: what is wrong is told with what to do", () => {
  assert.match(refused("--boos", "x"), /no option --boos\. Did you mean -bios\?/);
  assert.match(refused("-jsno"), /Did you mean --json\?/);
  assert.match(refused("-bios"), /-bios lacks its FILE/);
  assert.match(refused("-kernel", ""), /-kernel lacks its FILE/);
  assert.match(refused("-m", ""), /-m lacks its SIZE/);
  assert.match(refused(""), /name is empty/);
  assert.match(refused("-drive", "file="), /lacks its file/);
  assert.match(refused("-m", "much"), /`much` is no size of memory/);
  assert.match(refused("-smp", "0"), /-smp takes a number/);
  assert.match(refused("-drive", "file=a,if=floppy,index=2"), /two floppy drives/);
  assert.match(refused("-drive", "media=disk"), /lacks its file/);
  assert.match(refused("-drive", "file=a,if=scsi"), /does not understand `if=scsi`/);
  assert.match(refused("-drive", "file=a,if=none"), /lacks its id/);
  assert.match(refused("-device", "ide-hd,drive=d0"), /no drive d0\. Write -drive if=none,id=/);
  assert.match(refused("-device", "sdhci-pci"), /-device sdhci-pci can't be had here\. Of QEMU's there are/);
  assert.match(refused("-device", "isa-debug-exit,iobase=0x501"), /can't have iobase=0x501/);
  assert.match(refused("-machine", "q35"), /no machine q35 here/);
  assert.match(refused("-machine", "pc,accel=kvm,sata=on"), /does not understand `sata=on`/);
  assert.match(refused("-display", "gtk"), /`screen` and `screenshot`/);
  assert.match(refused("-smp", "3,cores=2"), /-smp takes a number/);
  assert.match(refused("-boot", "x"), /does not understand `x`/);
  assert.match(refused("-bios", "a", "b"), /-bios and b can't be together/);
  assert.match(refused("-append", "x"), /goes with -kernel/);
  assert.match(refused("--flat", "f,mode=weird"), /`mode=weird`/);
  assert.match(refused("a", "b"), /already an image/);
  assert.match(refused("--json=yes"), /takes no value/);
});

Deno.test("options: any words are taken or refused, never fatal", () => {
  const names = OPTIONS.flatMap((row) => row.names);
  const word = fc.oneof(fc.constantFrom(...names, "--", "-", "=", "1G", ""), fc.string({ maxLength: 12 }));
  fc.assert(
    fc.property(fc.array(word, { maxLength: 8 }), (argv) => {
      try {
        parseOptions(argv);
      } catch (error) {
        assert.ok(error instanceof ShellError, String(error));
      }
    }),
    { numRuns: 3000, seed: 2 },
  );
});

Deno.test("options: help shows every option that is for people", () => {
  const text = helpText();
  for (const row of OPTIONS) if (row.help !== undefined) assert.ok(text.includes(row.names[0]), row.names[0]);
});

Deno.test("sizes as QEMU reads them", () => {
  assert.equal(parseSize("64"), 64 * 2 ** 20);
  assert.equal(parseSize("64M"), 64 * 2 ** 20);
  assert.equal(parseSize("64MiB"), 64 * 2 ** 20);
  assert.equal(parseSize("512k"), 512 * 2 ** 10);
  assert.equal(parseSize("1G"), 2 ** 30);
  assert.equal(parseSize("1.5G"), 1.5 * 2 ** 30);
  assert.equal(parseSize("4096B"), 4096);
  for (const bad of ["0", "-1", "", "x", "1.0000001K", "9999999999999T"]) {
    assert.throws(() => parseSize(bad), ShellError);
  }
});

Deno.test("images are told by their contents", () => {
  const bytes = (size: number, at: Record<number, number[]>) => {
    const image = new Uint8Array(size);
    for (const [offset, data] of Object.entries(at)) image.set(data, Number(offset));
    return image;
  };
  const guess = (image: Uint8Array, size = image.length) => guessImage(image.subarray(0, 8192), size)?.kind;
  assert.equal(guess(bytes(4096, { 0: [0x7f, 0x45, 0x4c, 0x46] })), "elf");
  assert.equal(guess(bytes(512, { 510: [0x55, 0xaa] })), "boot-sector");
  assert.equal(guess(bytes(8192, { 0x202: [0x48, 0x64, 0x72, 0x53], 510: [0x55, 0xaa] })), "linux");
  assert.equal(guess(bytes(8192, {}), 0x20000), "firmware");
  assert.equal(
    guess(bytes(4096, { 16: [0x02, 0xb0, 0xad, 0x1b, 0, 0, 0, 0, 0xfe, 0x4f, 0x52, 0xe4] })),
    "multiboot",
  );
  assert.equal(guess(bytes(1000, {})), undefined);
  const header = [0x02, 0xb0, 0xad, 0x1b, 0, 0, 0, 0, 0xfe, 0x4f, 0x52, 0xe4];
  const wrong = [...header.slice(0, 11), 0xe5];
  assert.equal(brokenHeader(bytes(4096, { 64: wrong }))?.what, "has a wrong checksum");
  assert.deepEqual(brokenHeader(bytes(4096, { 66: header })), { at: 66, what: "is not at a multiple of 4" });
  assert.equal(brokenHeader(bytes(4096, { 66: wrong })), undefined);
  assert.equal(guess(new Uint8Array(0)), undefined);
});

Deno.test("options: an empty image is said to be empty", async () => {
  const path = await Deno.makeTempFile();
  try {
    await assert.rejects(guessFile(path), { message: `${path} is empty` });
  } finally {
    await Deno.remove(path);
  }
});

Deno.test("options: attach names a guest of others, and goes with nothing to boot", () => {
  const line = parseOptions(["attach", "xen:web1", "-c", "regs"]);
  assert.equal(line.domain, "web1");
  assert.deepEqual(line.actions, [{ kind: "command", text: "regs" }]);
  assert.match(refused("attach", "xen:web1", "-kernel", "k"), /can't be together/);
});
