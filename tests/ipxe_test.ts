/** Debian's iPXE, which nobody here wrote: it gathers randomness from the clock, gets an address, and fetches by HTTP. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { firmware, hosts, MiB, open, virtioNet } from "../mod.ts";
import { openUserNet } from "../src/backing/net.ts";
import { NO_X87, runsX87 } from "./x87.ts";

const BIOS = "/usr/share/seabios/bios.bin";
const CD = "/usr/lib/ipxe/ipxe.iso";
/** Far more than it takes in a lab that others keep busy. */
const PATIENCE = { timeoutMs: 400_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const absent =
  (await Promise.all([BIOS, CD].map(async (file) => await Deno.stat(file).then(() => [], () => [file]))))
    .flat();
const missing = !kvm?.usable
  ? `no KVM: ${kvm?.reason}`
  : absent.length > 0
  ? `no ${absent.join(", no ")}: deno task setup`
  : await runsX87()
  ? undefined
  : `${NO_X87}; isolinux takes minutes there`;
if (missing !== undefined) console.log(`skipped: iPXE: ${missing}`);
// libslirp is loaded once and kept, which a test's own check would take for a leak.
else openUserNet()[Symbol.dispose]();

Deno.test({
  name: "iPXE gets an address by its own virtio driver and fetches by HTTP [kvm]",
  ignore: missing !== undefined,
  fn: async () => {
    const asked: string[] = [];
    await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
      asked.push(new URL(request.url).pathname);
      return new Response("#!ipxe\necho fetched from ${net0/ip}\nshell\n");
    });
    await using vm = await open({
      backend: "kvm",
      memory: MiB(128),
      boot: firmware(BIOS, { cdrom: CD }),
      devices: [virtioNet("user", { transport: "pci" })],
    });
    const running = vm.continue(PATIENCE);
    // A guest that stops by itself shows nothing more: its stop says why.
    const ended = running.then((stop) => assert.equal(stop.kind, "pause"));
    const shows = (pattern: RegExp | string) => Promise.race([vm.screen.expect(pattern, PATIENCE), ended]);
    // The BIOS keeps 15 keys for a program that is slow: each is waited for.
    const enter = async (line: string) => {
      await shows(/iPXE>\s*$/);
      for (let i = 0; i < line.length; i++) {
        await vm.keyboard!.type(line[i], PATIENCE);
        // Blanks at a line's end are not seen.
        await shows(`iPXE> ${line.slice(0, i + 1)}`.trimEnd());
      }
      await vm.keyboard!.type("\n", PATIENCE);
    };
    await shows(/initialising devices\.\.\.ok/);
    await shows("Ctrl-B");
    await vm.keyboard!.press("ctrl-b");
    await enter("dhcp");
    await shows(/Configuring.*\.\.\. ok/);
    await enter(`chain http://10.0.2.2:${server.addr.port}/a`);
    await shows("fetched from 10.0.2.15");
    assert.deepEqual(asked, ["/a"]);
    await vm.pause();
    await ended;
  },
});
