import assert from "node:assert/strict";
import { interruptTable } from "../x86/descriptors.ts";
import { trapGates } from "./trap_table.ts";

Deno.test("trap table: it reads as a 64-bit IDT, handlers that are not there left out", () => {
  const traps = new Map([
    [3, { flags: 3, cs: 0xe033, address: 0xffff_ffff_8123_4567n }],
    [14, { flags: 4, cs: 0xe033, address: 0xffff_ffff_8abc_def0n }],
  ]);
  const bytes = trapGates((vector) => traps.get(vector) ?? { flags: 0, cs: 0, address: 0n });
  assert.equal(bytes.length, 4096);
  const gates = [...interruptTable(bytes, true)].filter(({ descriptor }) => descriptor.present);
  assert.deepEqual(gates.map(({ index }) => index), [3, 14]);
  const said = gates.map((
    { descriptor: { kind, dpl, ...rest } },
  ) => [kind, dpl, "offset" in rest && rest.offset]);
  assert.deepEqual(said, [["trap-gate", 3, 0xffff_ffff_8123_4567n], [
    "interrupt-gate",
    0,
    0xffff_ffff_8abc_def0n,
  ]]);
});
