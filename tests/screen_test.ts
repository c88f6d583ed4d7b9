/** The VGA of a whole guest: boot sectors that draw, and what scripts and debuggers see of it. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { decode } from "npm:fast-png@8.0.0";
import { bootSector, elf, flat, gpa, gva, MiB, open } from "../mod.ts";

/** mov ax, 0xb800; mov es, ax; then "Hi!" in yellow on blue at the top left; cli; hlt. */
const TEXT = Uint8Array.of(
  ...[0xb8, 0x00, 0xb8, 0x8e, 0xc0, 0x31, 0xff, 0xfc],
  ...[0xb8, 0x48, 0x1e, 0xab, 0xb0, 0x69, 0xab, 0xb0, 0x21, 0xab],
  ...[0xfa, 0xf4],
);

Deno.test("screen: a boot sector's text is read, waited for and seen by the debugger", async () => {
  await using vm = await open({ backend: "fake", boot: bootSector(TEXT) });
  assert.equal(vm.screen.text.trim(), "");
  const running = vm.continue({ timeoutMs: 10_000 });
  const [whole, letter] = await vm.screen.expect(/^H(.)!$/m);
  assert.deepEqual([whole, letter, (await running).kind], ["Hi!", "i", "halt"]);
  assert.deepEqual([...await vm.memory.read(gpa(0xb8000n), 4)], [0x48, 0x1e, 0x69, 0x1e]);
  assert.deepEqual([...await vm.vcpus[0].memory.read(gva(0xb7fffn), 2)].length, 2);
  await vm.memory.write(gpa(0xb8000n), Uint8Array.of(0x4a));
  assert.equal(vm.screen.text.split("\n")[0], "Ji!");
  await assert.rejects(vm.screen.expect("Hi!", { timeoutMs: 30 }), {
    name: "TimeoutError",
    message: /did not show Hi! within 30 ms; it shows:\n {2}\| Ji!/,
  });
  await assert.rejects(vm.memory.read(gpa(0xcfff_ffffn), 2), { name: "FaultError" });
});

Deno.test("screen: a picture is a PNG file that other programs decode", async () => {
  await using vm = await open({ backend: "fake", boot: bootSector(TEXT) });
  await vm.continue({ timeoutMs: 10_000 });
  const png = decode(await vm.screen.png());
  const { width, height, rgb } = await vm.screen.picture();
  assert.deepEqual([png.width, png.height, png.channels, png.depth], [width, height, 3, 8]);
  assert.deepEqual(png.data, rgb);
  assert.deepEqual([width, height], [720, 400]);
  assert.deepEqual([...rgb.subarray(0, 3)], [0, 0, 0xaa], "blue behind the H");
});

Deno.test("screen: memory is the VGA's where it has its window, and RAM's where there is none", async () => {
  // mov al, 7; mov [0xa0000], al; hlt, in long mode
  const code = Uint8Array.of(0xb0, 7, 0xa2, 0, 0, 0x0a, 0, 0, 0, 0, 0, 0xfa, 0xf4);
  await using ram = await open({ backend: "fake", boot: flat(code, { at: 0x20_0000, mode: "long" }) });
  await ram.continue({ timeoutMs: 10_000 });
  assert.deepEqual([...await ram.memory.read(gpa(0xa0000n), 1)], [7]);
  assert.throws(() => ram.screen.text, { name: "UnsupportedError", message: /no VGA/ });
  await assert.rejects(ram.screen.png(), { name: "UnsupportedError" });
  await using vga = await open({
    backend: "fake",
    vga: true,
    boot: flat(code, { at: 0x20_0000, mode: "long" }),
  });
  await vga.continue({ timeoutMs: 10_000 });
  await assert.rejects(
    open({ backend: "fake", vga: true, boot: flat(new Uint8Array(32), { at: 0xa0000 }) }),
    { name: "InputError", message: /where the VGA has its window/ },
  );
});

Deno.test("screen: break on vga text stops at what is drawn", async () => {
  await using vm = await open({ backend: "fake", boot: bootSector(TEXT) });
  const { points } = vm.devices.get("vga")!.device;
  assert.ok(points?.text, "the VGA names its text window");
  await vm.close();
  assert.throws(() => vm.screen.text, { name: "StateError" });
  await assert.rejects(vm.screen.expect("x", { timeoutMs: 10 }), { name: "StateError" });
});

/** Fills the text screen with "A" a hundred times: mov ax, 0xb800; ...; rep stosw; dec dx; jnz; cli; hlt. */
const FILL = Uint8Array.of(
  ...[0xb8, 0x00, 0xb8, 0x8e, 0xc0, 0xfc, 0xba, 0x64, 0x00],
  ...[0x31, 0xff, 0xb8, 0x41, 0x07, 0xb9, 0xd0, 0x07, 0xf3, 0xab],
  ...[0x4a, 0x75, 0xf3, 0xfa, 0xf4],
);

Deno.test("screen: drawing costs no exits, but where somebody wants to see them", async () => {
  await using vm = await open({ backend: "fake", boot: bootSector(FILL) });
  assert.equal((await vm.continue({ timeoutMs: 30_000 })).kind, "halt");
  assert.equal(vm.screen.text, `${"A".repeat(80)}\n`.repeat(25));
  const { "mmio-write": writes = 0 } = vm.trace.statistics().kinds as Record<string, number>;
  assert.ok(writes > 0 && writes < 1000, `${writes} writes left the guest`);
  assert.ok(vm.memory.regions.some(({ start }) => start === 0xb8000n), "RAM is there now");
  await vm.breakpoints.onAccess({ space: "mmio", start: 0xb8002n, direction: "write", ignore: 3 });
  assert.ok(vm.memory.regions.every(({ start }) => start !== 0xb8000n), "and is taken back");
  assert.deepEqual([...await vm.memory.read(gpa(0xb8000n), 2)], [0x41, 0x07]);
  await vm.reset();
  const stop = await vm.continue({ timeoutMs: 30_000 });
  assert.ok(stop.kind === "access" && stop.address === 0xb8002n && stop.write);
});

Deno.test("screen: a wrapped VGA sees every access", async () => {
  await using vm = await open({ backend: "fake", boot: bootSector(FILL.with(7, 2)) });
  let writes = 0;
  using _wrap = vm.devices.wrap("vga", { write: (_offset, _data, next) => (writes++, next()) });
  await vm.continue({ timeoutMs: 30_000 });
  assert.equal(writes, 4000);
});

Deno.test("screen: a multiboot kernel's text is seen, without asking for a VGA", async () => {
  // mov dword [0xb8000], 'H' 'I' in white; hlt
  const code = [0xc7, 0x05, 0x00, 0x80, 0x0b, 0x00, 0x48, 0x0f, 0x49, 0x0f, 0xfa, 0xf4];
  const kernel = new Uint8Array(48 + code.length);
  const view = new DataView(kernel.buffer);
  const flags = 0x10000;
  // Header with load addresses: the file is at 1 MiB, its entry behind the header.
  [0x1badb002, flags, -(0x1badb002 + flags), 0x10_0000, 0x10_0000, 0, 0, 0x10_0030].forEach((n, i) =>
    view.setUint32(4 * i, n >>> 0, true)
  );
  kernel.set(code, 48);
  await using vm = await open({ backend: "fake", memory: MiB(4), boot: elf(kernel) });
  assert.equal((await vm.continue({ timeoutMs: 60_000 })).kind, "halt");
  assert.match(vm.screen.text, /^HI/);
  assert.deepEqual(vm.boot?.notes, []);
});
