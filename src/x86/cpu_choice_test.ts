import assert from "node:assert/strict";
import { chooseFeatures } from "./cpu_choice.ts";
import { cpuidFeatures, type CpuidLeaf } from "./cpuid.ts";

const leaf = (number: number, values: Partial<CpuidLeaf>): CpuidLeaf => ({
  function: number,
  index: 0,
  eax: 0,
  ebx: 0,
  ecx: 0,
  edx: 0,
  ...values,
});
/** fpu and tsc; rdrand and hypervisor; avx2 and bmi2. */
const HOST = [leaf(1, { edx: 0x11, ecx: 0xc000_0000 | 0 }), leaf(7, { ebx: 0x120 }), leaf(0x8000_0001, {})];

Deno.test("features are taken out by name, the others stay", () => {
  assert.deepEqual(cpuidFeatures(chooseFeatures(HOST, "host")), [
    "fpu",
    "tsc",
    "rdrand",
    "hypervisor",
    "avx2",
    "bmi2",
  ]);
  const chosen = chooseFeatures(HOST, "host,-avx2, -hypervisor,+tsc,-svm");
  assert.deepEqual(cpuidFeatures(chosen), ["fpu", "tsc", "rdrand", "bmi2"]);
  assert.equal(HOST[1].ebx, 0x120);
});

Deno.test("what can't be read, is not known or is not there is refused", () => {
  for (const choice of ["", "EPYC", "host,avx2", "host,-", "host,-nonsense", "host,,-avx2", "host,--"]) {
    assert.throws(() => chooseFeatures(HOST, choice), { name: "InputError" }, choice);
  }
  assert.throws(() => chooseFeatures(HOST, "host,+avx512f"), /can't give a guest avx512f/);
});
