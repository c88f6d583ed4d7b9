/** Debian's own kernel as a guest, in the KVM lab: what no fixture of ours could show. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { sharedLab } from "./lab/shared.ts";

const kvm = sharedLab("kvm");

/** Runs a program of tests/linux in the lab, and gives what it said at its end. */
async function said(file: string, ...args: string[]): Promise<unknown> {
  const lab = await kvm.get();
  const { code, stdout, stderr } = await lab.output([
    "deno",
    "run",
    "-A",
    "--no-check",
    `tests/linux/${file}`,
    ...args,
  ]);
  assert.equal(code, 0, `${stdout}\n${stderr}`);
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "");
}

/** What guest.ts says on either transport. */
const USES_DEVICES = {
  stop: "poweroff",
  modules: "all",
  devices: "virtio0 virtio1",
  disk: "131072 sectors, serial HVSH1",
  file: "hello from the host",
  written: "hello from the guest",
  random: 16,
};

Deno.test({
  name: "Debian's kernel finds virtio devices by ACPI, writes ext4 on a virtio disk, and turns the power off",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("guest.ts"), {
      ...USES_DEVICES,
      vectors: 0,
      ecam: "none",
    });
  },
});

Deno.test({
  name: "Debian's kernel finds virtio devices on the PCI bus, and has an interrupt for each of their queues",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("guest.ts", "pci"), {
      ...USES_DEVICES,
      vectors: 4, // configuration and a queue of each
      ecam: "used",
    });
  },
});

Deno.test({
  name:
    "Debian's kernel runs on two vCPUs; a kernel function stops on either, and one is stepped while the other stands",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("two_cpus.ts"), {
      online: "0-1",
      cores: "0 1",
      both: true,
      held: true,
      after: "go on",
      stop: "poweroff",
    });
  },
});

Deno.test({
  name: "Debian's kernel lends memory by its balloon, which the host has then, and takes it back",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("balloon_guest.ts"), {
      stop: "poweroff",
      reported: true,
      inflated: 120,
      deflated: true,
      again: true,
      freeFell: true,
    });
  },
});

Deno.test({
  name: "Debian's kernel has an address by DHCP, fetches files over the user's network and over TAP",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("net_guest.ts"), {
      stop: "poweroff",
      dhcp: "10.0.2.15 10.0.2.2 10.0.2.3",
      user: true,
      tap: true,
      forwarded: "forwarded",
      recorded: true,
    });
  },
});

Deno.test({
  name: "Debian's kernel talks to Unix sockets over virtio-vsock, and writes and discards a qcow2 disk",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("socket_guest.ts"), {
      stop: "poweroff",
      refused: "connect: Connection reset by peer",
      answer: "from the guest",
      much: true,
      guestHeard: "the host says hello",
      hostHeard: "the guest says hello",
      disk: "yes",
      grew: true,
      left: "0",
      shrank: true,
    });
  },
});

Deno.test({
  name:
    "Debian's kernel reads SMBIOS, hears the power button, tells of its panic, and ends in a triple fault",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("power_guest.ts"), {
      dmi: "PC (i440FX, PIIX3)",
      input: "Power Button",
      listens: true,
      event: "1 116 1", // EV_KEY, KEY_POWER, pressed
      crash: "crash",
      detail: "its kernel panicked",
      reset: "triple-fault",
    });
  },
});

Deno.test({
  name: "bash of Debian's packages runs on two vCPUs from an ext4 disk; a function stops on either",
  ignore: kvm.ignore,
  fn: async () => {
    const { backtraces, ...rest } = await said("shell_guest.ts") as { backtraces: string[] };
    assert.deepEqual(rest, {
      stop: "poweroff",
      shell: true,
      root: "ext4 rw",
      log: true,
      written: "written by bash",
    });
    assert.equal(backtraces.length, 2);
    for (const calls of backtraces) {
      assert.match(calls, /^__x64_sys_execve < do_syscall_64 < entry_SYSCALL_64/);
    }
  },
});

Deno.test({
  name:
    "Debian's kernel has its shell on a virtio console, and prints 100 MB on another port, which nobody keeps",
  ignore: kvm.ignore,
  fn: async () => {
    assert.deepEqual(await said("console_guest.ts"), {
      stop: "poweroff",
      sum: "42",
      name: "org.hvsh.log",
      sizes: "30 100, 43 132",
      heard: "a line of ours",
      logged: true,
      kept: true,
      grew: false,
    });
  },
});

Deno.test({
  name:
    "Debian's kernel, moved by KASLR and seen from outside, is as it says itself: symbols, log, modules, tasks",
  ignore: kvm.ignore,
  fn: async () => {
    // On QEMU and not in the lab: what is looked at is the guest's memory, and it boots in a tenth of the time.
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", new URL("linux/view_guest.ts", import.meta.url).pathname, "qemu"],
    }).output();
    const said = new TextDecoder().decode(stdout);
    assert.ok(success, `${said}\n${new TextDecoder().decode(stderr)}`);
    assert.deepEqual(JSON.parse(said.trim().split("\n").at(-1) ?? ""), {
      release: true,
      text: true,
      log: true,
      symbols: true,
      moduleSymbols: true,
      modules: true,
      tasks: true,
      init: [0x7f, 0x45, 0x4c, 0x46],
      stop: "breakpoint",
      calls: true,
      end: "entered from user space at N",
      current: "sleep",
    });
  },
});
