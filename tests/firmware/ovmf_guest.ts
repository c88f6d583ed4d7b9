/**
 * Debian's OVMF to its shell, on a flash chip with its variables: sets one, and finds it after the power was off. Run in
 * the KVM lab; prints JSON.
 */
import { firmware, MiB, open } from "../../mod.ts";

const [code, variables] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
/** A lab that others keep busy takes minutes. */
const LIMIT = { timeoutMs: 1_500_000 };
const chip = await Deno.readFile(variables);

/** Types a line into the shell, and waits for what it says and for the next prompt. */
async function boot(command: string, answer: RegExp): Promise<{ said: string; stop: string; flash: string }> {
  await using vm = await open({
    backend: "kvm",
    memory: MiB(128),
    boot: firmware(code, { variables: chip, vgabios: "none" }),
  });
  const running = vm.continue(LIMIT);
  const ended = running.then((stop): never => {
    throw new Error(`it stopped by itself: ${stop.kind}\n${vm.console.text.slice(-2000)}`);
  });
  ended.catch(() => {});
  const shows = (pattern: RegExp) => Promise.race([vm.console.expect(pattern, LIMIT), ended]);
  await shows(/Shell>/);
  await vm.console.send(`${command}\r`);
  const [said] = await shows(answer);
  await shows(/Shell>/);
  await vm.console.send("reset -s\r");
  const stop = await running;
  return {
    said,
    stop: stop.kind === "shutdown" ? stop.reason : stop.kind,
    flash: Number(vm.devices.get("flash")?.device.inspect?.().programmed ?? 0) > 0 ? "written" : "untouched",
  };
}

console.log(JSON.stringify([
  await boot("ver", /UEFI v2\.\d+/),
  await boot("setvar HvshTest -guid 11111111-2222-3333-4444-555555555555 -bs -nv =0x2a", /.*/),
  await boot("setvar HvshTest -guid 11111111-2222-3333-4444-555555555555", /2A/i),
]));
