/** Debian's memtest86+, which nobody here wrote: it draws its screen on the VGA, and counts. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { hosts, linux, MiB, open } from "../mod.ts";
import { NO_X87, runsX87 } from "./x87.ts";

const KERNEL = "/boot/memtest86+x64.bin";
/** Far more than it takes in a lab that others keep busy. */
const PATIENCE = { timeoutMs: 300_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const installed = await Deno.stat(KERNEL).then(() => true, () => false);
const missing = !kvm?.usable
  ? `no KVM: ${kvm?.reason}`
  : !installed
  ? `no ${KERNEL}: deno task setup`
  : await runsX87()
  ? undefined
  : NO_X87;
if (missing !== undefined) console.log(`skipped: memtest86+: ${missing}`);

Deno.test({
  name: "memtest86+ draws its screen and counts [kvm]",
  ignore: missing !== undefined,
  fn: async () => {
    await using vm = await open({
      backend: "kvm",
      memory: MiB(32),
      vga: true,
      boot: linux({ kernel: KERNEL }),
    });
    const running = vm.continue(PATIENCE);
    // A guest that stops by itself draws nothing more: its stop says why.
    const ended = running.then((stop) => assert.equal(stop.kind, "pause"));
    const shows = (pattern: RegExp) => Promise.race([vm.screen.expect(pattern, PATIENCE), ended]);
    await shows(/Memtest86\+ v?6\.\d+/);
    // What it found out of the memory map: what is left of 32 MiB.
    await shows(/Memory *: *3\dMB|Memory *: *\d+\.\d+MB|Memory *: *\d+MB/);
    await shows(/Time: +0:00:0[1-9]/);
    const before = vm.screen.text;
    await shows(/Time: +0:00:(0[3-9]|[1-5]\d)/);
    assert.notEqual(vm.screen.text, before);
    await vm.pause();
    await ended;
  },
});
