import assert from "node:assert/strict";
import { Bus } from "../vm/bus.ts";
import { createFake } from "../vm/fake.ts";
import { createDebugger } from "./debugger.ts";
import type { Machine } from "../vm/machine.ts";
import { disassembler } from "./disassembler.ts";
import { instructionOf, type RecordedStep, Recorder } from "./recording.ts";

/** A machine of the interpreter's, as far as a recorder needs one. */
function machine(): Machine {
  const backend = createFake({ memory: 1 << 20, cpus: 1, irqchip: false, pit: false });
  const clock = { pause() {}, resume() {}, poll: () => 0 };
  const { control, motions, memory, vcpus } = createDebugger(
    backend,
    { port: new Bus("port"), mmio: new Bus("mmio") },
    clock,
  );
  return {
    memory,
    vcpus,
    get state() {
      return control.state;
    },
    step: (request) => control.step(request),
    stepOver: (options) => motions.over(options),
  } as Partial<Machine> as Machine;
}

Deno.test("a REP instruction is one step, with all it read and wrote, however many the processor makes of it", async () => {
  // std; mov cx, 5; mov si, 0x3004; mov di, 0x4004; rep movsb
  // cld; mov cx, 3; mov di, 0x5000; mov al, 7; rep stosb; cli; hlt
  const code = Uint8Array.from([
    ...[0xfd, 0xb9, 5, 0, 0xbe, 0x04, 0x30, 0xbf, 0x04, 0x40, 0xf3, 0xa4],
    ...[0xfc, 0xb9, 3, 0, 0xbf, 0, 0x50, 0xb0, 7, 0xf3, 0xaa, 0xfa, 0xf4],
  ]);
  const vm = machine();
  await vm.vcpus[0].setRegisters({ cs: 0n, cs_base: 0n, rip: 0x1000n, rflags: 0x202n });
  await vm.memory.write(0x1000n, code);
  await vm.memory.write(0x3000n, Uint8Array.of(1, 2, 3, 4, 5));
  const recorder = await Recorder.of(vm);
  const steps = [];
  for (let i = 0; i < 10; i++) steps.push(await recorder.step());
  const decode = await disassembler();
  const texts = steps.map((step) => typeof step === "string" ? step : instructionOf(step, decode)?.text);
  assert.deepEqual([texts[4], texts[9]], ["rep movsb", "rep stosb"]);
  const [copied, filled] = [steps[4], steps[9]] as RecordedStep[];
  assert.deepEqual(copied.writes, [{ address: 0x4000n, bytes: Uint8Array.of(1, 2, 3, 4, 5) }]);
  assert.deepEqual(copied.reads, [{ address: 0x3000n, size: 5 }]);
  assert.equal(copied.registers.get("rcx"), 0n);
  assert.deepEqual(filled.writes, [{ address: 0x5000n, bytes: Uint8Array.of(7, 7, 7) }]);
  assert.equal(filled.registers.get("rdi"), 0x5003n);
  // Interrupts were held, and are on again.
  assert.equal((await vm.vcpus[0].registers()).rflags & 0x200n, 0x200n);
});
