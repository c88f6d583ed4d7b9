/** How guests end themselves, and the power button: on the interpreter, and on KVM where it can be had. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { flat, hosts, MiB, open } from "../mod.ts";

const kvm = (await hosts()).find(({ backend }) => backend === "kvm");
if (!kvm?.usable) console.log(`skipped on KVM: ${kvm?.reason}`);

/** mov dx, port; mov ax, value; out dx, ax or al; hlt */
const out = (port: number, value: number, size: 1 | 2) => [
  ...[0xba, port & 0xff, port >> 8],
  ...[0xb8, value & 0xff, value >> 8],
  size === 2 ? 0xef : 0xee,
  0xf4,
];

interface End {
  readonly how: string;
  readonly code: readonly number[];
  readonly mode?: "long";
  readonly reason: string;
  readonly detail?: string;
}

const ENDS: readonly End[] = [
  { how: "S5 by the PIIX4", code: out(0x604, 0x2000, 2), reason: "poweroff" },
  { how: "port 0xcf9", code: out(0xcf9, 6, 1), reason: "reset" },
  { how: "pvpanic", code: out(0x505, 1, 1), reason: "crash", detail: "its kernel panicked" },
  // lidt [0x800], which are zeros; ud2
  {
    how: "an empty IDT",
    code: [0x0f, 0x01, 0x1c, 0x25, 0x00, 0x08, 0, 0, 0x0f, 0x0b],
    mode: "long",
    reason: "triple-fault",
  },
];

for (const backend of kvm?.usable ? ["fake", "kvm"] as const : ["fake"] as const) {
  for (const { how, code, mode = "real", reason, detail } of ENDS) {
    Deno.test(`${reason} by ${how} is a stop with that reason, on ${backend}`, async () => {
      await using vm = await open({ backend, memory: MiB(2), boot: flat(Uint8Array.from(code), { mode }) });
      const stop = await vm.continue({ timeoutMs: 10_000 });
      assert.equal(stop.kind, "shutdown");
      assert.equal(stop.kind === "shutdown" && stop.reason, reason);
      if (detail !== undefined) assert.equal(stop.kind === "shutdown" && stop.detail, detail);
    });
  }
}

Deno.test("the power button tells whether the guest has asked for it; a guest without a chipset has none", async () => {
  // PM1_EN: PWRBTN_EN
  const boot = flat(Uint8Array.from(out(0x602, 0x100, 2)));
  await using vm = await open({ backend: "fake", memory: MiB(2), boot });
  assert.equal(vm.pressPower(), false);
  await vm.continue({ timeoutMs: 10_000 });
  assert.equal(vm.pressPower(), true);
  await using bare = await open({ backend: "fake", memory: MiB(2), boot, defaultDevices: false });
  assert.throws(() => bare.pressPower(), { name: "UnsupportedError" });
});
