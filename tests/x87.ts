import assert from "node:assert/strict";
import { flat, MiB, open } from "../mod.ts";

/** Why a guest that needs x87 instructions is skipped. */
export const NO_X87 =
  "this KVM emulates kernels' code, and its emulator does not know FWAIT (Linux, emulate.c)";

/** Whether guests on KVM can run x87 instructions at CPL 0: software KVMs may not. */
export async function runsX87(): Promise<boolean> {
  // fwait; cli; hlt
  const boot = flat(Uint8Array.of(0x9b, 0xfa, 0xf4), { mode: "protected", at: 0x1000 });
  await using vm = await open({ backend: "kvm", memory: MiB(1), boot });
  const stop = await vm.continue({ timeoutMs: 60_000 });
  assert.ok(stop.kind === "halt" || stop.kind === "fault", stop.kind);
  return stop.kind === "halt";
}
