/** The timer's interrupt where a PC has it at the I/O APIC, with the controllers in the hypervisor. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { flat, hosts, MiB, open } from "../mod.ts";

const kvm = (await hosts()).find((host) => host.backend === "kvm");
if (!kvm?.usable) console.log(`skipped: the timer at the I/O APIC: ${kvm?.reason}`);

const le32 = (value: number) => [0, 8, 16, 24].map((shift) => value >>> shift & 0xff);
/** mov dword [address], value */
const store = (address: number, value: number) => [0xc7, 0x05, ...le32(address), ...le32(value)];
const ioApic = (register: number, value: number) => [
  ...store(0xfec0_0000, register),
  ...store(0xfec0_0010, value),
];
const VECTOR = 0x40;

/** Leads the timer to the I/O APIC's `input`, and looks at the LAPIC's request register until it was there. */
const program = (input: number) => {
  const setUp = [
    ...store(0xfee0_00f0, 0x1ff), // the LAPIC is on
    ...ioApic(0x11 + 2 * input, 0),
    ...ioApic(0x10 + 2 * input, VECTOR),
    ...[0xb0, 0x34, 0xe6, 0x43, 0xb0, 0, 0xe6, 0x40, 0xe6, 0x40], // channel 0: mode 2, 65,536 ticks
  ];
  const look = [
    ...[0xf6, 0x05, ...le32(0xfee0_0200 + (VECTOR >> 5) * 0x10), 1], // test byte [IRR], 1
    ...[0x74, 0xf7], // jz back to it
    ...[0xb0, input, 0xe6, 0xf4], // out 0xf4, input
  ];
  return flat(Uint8Array.from([...setUp, ...look]), { mode: "protected" });
};

Deno.test({
  name: "the timer comes to input 2 of the I/O APIC, as boards have it, and not to input 0",
  ignore: !kvm?.usable,
  fn: async () => {
    await using wired = await open({ backend: "kvm", memory: MiB(2), boot: program(2) });
    const stop = await wired.continue({ timeoutMs: 60_000 });
    assert.equal(stop.kind === "exit" && stop.code, 5);
    await using bare = await open({ backend: "kvm", memory: MiB(2), boot: program(0) });
    // Some five of its periods.
    assert.equal((await bare.continue({ timeoutMs: 300 })).kind, "timeout");
  },
});
