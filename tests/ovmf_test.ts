/** Debian's OVMF, which nobody here wrote, to its EFI shell: with variables in flash, and a disk whose files it reads. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { firmware, hosts, MiB, open } from "../mod.ts";
import { fatDisk, fatDiskMissing } from "./boot_media.ts";
import { slowLapicTimers } from "./lab/lapic_timers.ts";
import { NO_X87, runsX87 } from "./x87.ts";

const CODE = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/** Far more than it takes in a lab that others keep busy. */
const PATIENCE = { timeoutMs: 900_000 };

const kvm = (await hosts()).find((host) => host.backend === "kvm");
const missing = !kvm?.usable
  ? `no KVM: ${kvm?.reason}`
  : !existsSync(CODE)
  ? `no ${CODE}: deno task setup`
  : fatDiskMissing() ?? (await runsX87() ? undefined : NO_X87);
if (missing !== undefined) console.log(`skipped: OVMF: ${missing}`);

Deno.test({
  name: "OVMF comes to its shell, answers, reads a file of a disk, and keeps variables in flash [kvm]",
  ignore: missing !== undefined,
  fn: async () => {
    const variables = new Uint8Array(readFileSync(VARIABLES));
    const before = variables.slice();
    const disk = await fatDisk({ "HELLO.TXT": "from the disk" });
    const boot = firmware(CODE, { variables, disk, vgabios: "none" });
    await using vm = await open({ backend: "kvm", memory: MiB(128), vga: false, boot });
    using timers = slowLapicTimers();
    const running = vm.continue(PATIENCE);
    // A guest that stops by itself shows nothing more: its stop says why.
    const ended = running.then((stop) => assert.equal(stop.kind, "pause", vm.console.text.slice(-400)));
    const shows = (pattern: RegExp) => Promise.race([vm.console.expect(pattern, PATIENCE), ended]);
    await shows(/UEFI Interactive Shell/);
    await shows(/FS0:/);
    // The shell waits five of its seconds for a key.
    await shows(/seconds to skip/);
    timers.quicken();
    await vm.console.send("\x1b");
    await shows(/Shell> /);
    await vm.console.send("ver\r");
    await shows(/UEFI v2\.\d+ \(EDK II/);
    await shows(/Shell> /);
    await vm.console.send("type fs0:\\hello.txt\r");
    await shows(/from the disk/);
    await shows(/Shell> /);
    await vm.pause();
    await ended;
    assert.notDeepEqual(variables, before);
  },
});
