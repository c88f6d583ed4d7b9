/** A stub that shows general registers and linear memory alone, as gdbserver and small VMMs do. */
import assert from "node:assert/strict";
import { walk } from "../x86/paging.ts";
import { bitness } from "../x86/mode.ts";
import { attachStub } from "./attach.ts";
import { FAKE_WAITER, fakeStub } from "./fake_stub.ts";

const GENERAL = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip".split(" ");
const XML = `<target><architecture>i386:x86-64</architecture><feature name="org.gnu.gdb.i386.core">${
  [...GENERAL.map((name) => `<reg name="${name}" bitsize="64"/>`), `<reg name="eflags" bitsize="32"/>`].join(
    "",
  )
}</feature></target>`;
const STACK = 0x7fff_ffff_e000n;

Deno.test("a stub without page tables: linear memory is memory, all registers are set at once", async () => {
  const asked: string[] = [];
  let registers = "00".repeat(8 * GENERAL.length) + "xxxxxxxx";
  const stub = fakeStub((payload) => {
    asked.push(payload);
    if (payload.startsWith("qSupported:")) {
      // gdbserver names no registers to whom does not ask so.
      assert.match(payload, /;xmlRegisters=i386(;|$)/);
      return "PacketSize=4000;qXfer:features:read+";
    }
    if (payload.startsWith("qXfer:")) return `l${XML}`;
    if (payload.startsWith("G")) {
      registers = payload.slice(1);
      return "OK";
    }
    if (payload.startsWith("m")) return payload === `m${STACK.toString(16)},4` ? "01020304" : "E01";
    if (payload.startsWith("M") || payload.startsWith("H") || payload.startsWith("D")) return "OK";
    return { "?": "T05", "qfThreadInfo": "m1", "qsThreadInfo": "l", "g": registers }[payload] ?? "";
  });
  const backend = await attachStub({ gdb: () => Promise.resolve(stub) }, FAKE_WAITER);
  const [vcpu] = backend.vcpus;
  const found = await vcpu.registers();
  assert.equal(bitness(found), 64);
  const place = await walk(found, STACK, () => assert.fail("there are no page tables to be read"));
  assert.equal(place.ok && place.gpa, STACK);
  const bytes = new Uint8Array(4);
  await backend.memory.read(STACK, bytes);
  assert.deepEqual([...bytes], [1, 2, 3, 4]);
  assert.throws(() => backend.memory.read(0n, bytes), /refuses memory at 0x0/);
  await backend.memory.write(STACK, Uint8Array.of(9));
  assert.ok(asked.includes(`M${STACK.toString(16)},1:09`));
  await vcpu.setRegisters({ rdi: 0x1122n });
  assert.equal((await vcpu.registers()).rdi, 0x1122n);
  assert.match(registers, /^(00)*2211(00)*$/);
  assert.match(backend.notices?.join() ?? "", /no page tables/);
  await backend.close();
});
