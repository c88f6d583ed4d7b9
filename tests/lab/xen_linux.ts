/**
 * Debian's kernel as a Xen guest, debugged from dom0 while it runs:
 * `deno run -A --no-check tests/lab/xen_linux.ts xen-pv|xen-pvh [KERNEL]`. Prints as JSON what was seen.
 */
import { gva, linux, MiB, open, type XenKind } from "../../mod.ts";
import { findKernel } from "./kernel.ts";
import { guestInitramfs } from "../linux/initramfs.ts";

const SCRIPT = `
echo "RELEASE $(uname -r)"
echo "TEXT $(grep ' T _text$' /proc/kallsyms)"
echo READY
while read line; do echo "ANSWER $line to $(cat /proc/sys/kernel/osrelease)"; sleep 0.01; done
`;
const LIMIT = { timeoutMs: 600_000 };

const [backend, image] = Deno.args as [XenKind, string?];
const kernel = findKernel();
const began = performance.now();
const note = (what: string) => console.error(`${((performance.now() - began) / 1e3).toFixed(1)} s: ${what}`);
await using vm = await open({
  backend,
  memory: MiB(256),
  boot: linux({
    kernel: image ?? kernel.image,
    initrd: await guestInitramfs(kernel, [], SCRIPT),
    cmdline: "console=hvc0 nokaslr mitigations=off panic=-1 earlyprintk=xen",
  }),
});
note("open");
const running = vm.continue(LIMIT);
running.then((stop) => note(`stop ${stop.kind}`), (error) => note(`error ${error.message}`));
const watch = setInterval(
  () =>
    note(
      `${vm.state} ${JSON.stringify(vm.console.text.slice(-200))} ${
        vm.trace.entries({ last: 6 }).map((e) =>
          `${e.name} ${e.address.toString(16)} ${e.value.toString(16)} at ${e.rip.toString(16)}`
        ).join("; ")
      } ${vm.trace.statistics().total}`,
    ),
  10_000,
);
await vm.console.expect(/READY/, LIMIT);
clearInterval(watch);
note("READY");
await vm.pause();
note(`paused at ${(await running).rip.toString(16)}`);
const info = await vm.linux.locate();
note(`${info.banner}`);
const symbol = vm.symbols.lookup("do_nanosleep") ?? vm.symbols.lookup("hrtimer_nanosleep");
note(`do_nanosleep ${symbol?.toString(16)}`);
console.error(vm.capabilities.get("breakpoints"));
const bp = await vm.breakpoints.add(gva(symbol!));
note(`breakpoint ${bp.how}`);
const go = vm.continue(LIMIT);
await vm.console.send("hello\n");
const hit = await go;
note(`hit ${hit.kind} ${hit.rip.toString(16)}`);
const { frames, reason } = await vm.backtrace();
note(frames.map(({ address }) => vm.symbols.nearest(address)?.name ?? "?").join(" < ") + ` (${reason})`);
const step = await vm.step();
note(`step ${step.kind} ${step.rip.toString(16)}`);
const over = await vm.stepOver();
note(`over ${over.kind} ${over.rip.toString(16)}`);
await bp.remove();
const last = vm.continue(LIMIT);
last.catch(() => {});
await vm.console.send("again\n");
await vm.console.expect(/ANSWER again/, LIMIT);
note("answered");
await vm.pause();
