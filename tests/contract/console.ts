import assert from "node:assert/strict";
import { gpa, TimeoutError } from "../../mod.ts";
import { type Case, type Context, DATA, ended, go, group, PATIENCE_MS, pointer, refused } from "./case.ts";

const COM1 = 0x3f8n;

/** Prints `text`, on COM1 by rep outsb, then ends. */
async function printer(c: Context, text: string) {
  const bytes = new TextEncoder().encode(text);
  const vm = await c.guest({
    code: c.backend.code?.print ?? "f36e fa f4",
    registers: { ...pointer(DATA, c.backend.mode), rcx: BigInt(bytes.length), rdx: COM1 },
  });
  await vm.memory.write(gpa(DATA), bytes);
  return vm;
}

/** Sends back what it receives: add dl, 5; in al, dx; test al, 1; jz; sub dl, 5; in al, dx; out dx, al; jmp. */
const ECHO = "80c205 ec a801 74fb 80ea05 ec ee ebf1";

/** The guest's console. */
export const CONSOLE_CASES: readonly Case[] = group("console", {
  "holds what the guest prints": async (c) => {
    const vm = await printer(c, "Grüße from the guest\r\n");
    const heard: number[] = [];
    using _ = vm.console.onOutput((bytes) => heard.push(...bytes));
    // A console in another process tells a moment later.
    const told = vm.console.expect("from the guest\r\n", { timeoutMs: PATIENCE_MS });
    await ended(c, vm);
    await told;
    assert.equal(vm.console.text, "Grüße from the guest\r\n");
    assert.equal(new TextDecoder().decode(Uint8Array.from(heard)), vm.console.text);
  },

  "expect finds one match after the other, in what came and in what comes": async (c) => {
    const vm = await printer(c, "one 1 two 2 login: three 3");
    const waiting = vm.console.expect(/two (\d)/);
    const running = go(vm);
    assert.equal((await waiting)[1], "2");
    assert.equal((await vm.console.expect("login:"))[0], "login:");
    assert.equal((await vm.console.expect(/\w+ (\d)/))[0], "three 3");
    await running;
    await refused(TimeoutError, () => vm.console.expect("one", { timeoutMs: 10 }));
  },

  "expect does not resume the guest, and says what there was when time is up": async (c) => {
    const vm = await printer(c, "nothing here\n");
    const error = await vm.console.expect(/login:/, { timeoutMs: 20 }).then(() => undefined, (e) => e);
    assert.ok(error instanceof TimeoutError);
    assert.equal(vm.state, "paused");
    assert.equal(vm.console.text, "");
    await ended(c, vm);
    // A console in another process tells a moment later.
    while (!vm.console.text.includes("nothing here")) await new Promise((resolve) => setTimeout(resolve, 5));
    const second = await vm.console.expect(/login:/, { timeoutMs: 20 }).then(() => undefined, (e) => e);
    assert.match(String(second), /nothing here/);
  },

  "what is sent arrives, in order and whole": async (c) => {
    const vm = await c.guest({ code: c.backend.code?.echo ?? ECHO, registers: { rdx: COM1 } });
    const running = vm.continue();
    const text = "a line that is longer than the receiver's FIFO of sixteen bytes\n";
    await vm.console.send(text);
    await vm.console.expect(text, { timeoutMs: PATIENCE_MS });
    assert.equal(vm.console.text, text);
    await vm.pause();
    await running;
  },

  "a wait ends with the machine": async (c) => {
    const vm = await c.guest({ code: "fa f4" });
    const waiting = refused(
      TimeoutError,
      () =>
        vm.console.expect("never", { timeoutMs: 60_000 }).catch((e) => {
          assert.match(String(e), /closed/);
          throw new TimeoutError("closed, as it should be", { remedy: "nothing to do" });
        }),
    );
    await vm.close();
    await waiting;
  },
});
