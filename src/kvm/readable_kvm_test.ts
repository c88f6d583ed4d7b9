/** What comes to a descriptor of the host is told in the middle of a time slice. */
import assert from "node:assert/strict";
import { LINUX } from "../abi/linux.ts";
import { answerSignal, signalled } from "../host/async_io.ts";
import { OwnedFd } from "../host/fd.ts";
import { libc } from "../host/libc.ts";
import { blockedSignals, inSet } from "../host/signals.ts";
import { expectExit, guest, kvmTest, real } from "./test_guest.ts";

/** Does something with a named pipe, whose path it gets too. */
async function withPipe(use: (pipe: OwnedFd, path: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/pipe`;
    const made = await new Deno.Command("mkfifo", { args: [path] }).output();
    assert.ok(made.success);
    using pipe = OwnedFd.open(path, LINUX.O_RDWR | LINUX.O_NONBLOCK);
    await use(pipe, path);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const write = (pipe: OwnedFd, text: string) =>
  libc().write(pipe.fd, new TextEncoder().encode(text), BigInt(text.length));

Deno.test("what comes to a watched descriptor is told when it is asked for, once for all of it", () =>
  withPipe((pipe) => {
    const before = inSet(blockedSignals(), LINUX.SIGIO);
    let told = 0;
    {
      using _watch = signalled(pipe.fd, () => told++);
      assert.equal(answerSignal(), false);
      write(pipe, "a");
      write(pipe, "b");
      assert.equal(answerSignal(), true);
      assert.equal(answerSignal(), false);
      assert.equal(told, 1);
      write(pipe, "c"); // nobody asks before the end: the signal must not be left to end this process
    }
    write(pipe, "d");
    assert.equal(answerSignal(), false);
    assert.equal(told, 1);
    assert.equal(inSet(blockedSignals(), LINUX.SIGIO), before);
  }));

Deno.test("each of several that are watched is told, and one that ends twice ends the others' nothing", () =>
  withPipe((one) =>
    withPipe((other) => {
      const told: string[] = [];
      const first = signalled(one.fd, () => told.push("one"));
      using _second = signalled(other.fd, () => told.push("other"));
      write(other, "a");
      assert.equal(answerSignal(), true);
      assert.deepEqual(told, ["one", "other"]);
      first[Symbol.dispose]();
      first[Symbol.dispose]();
      write(one, "a");
      assert.equal(answerSignal(), false);
      write(other, "a");
      assert.equal(answerSignal(), true);
      assert.deepEqual(told, ["one", "other", "other"]);
    })
  ));

kvmTest(
  "where vCPUs have threads it is heard together with them, once, though nobody reads it",
  ["irqchip"],
  () =>
    withPipe((pipe) => {
      using machine = guest({ cpus: 2, irqchip: true });
      const parallel = machine.parallel!;
      let told = 0;
      {
        using _watch = machine.readable(pipe.fd, () => told++);
        assert.equal(parallel.next(0), undefined);
        assert.equal(parallel.doorbells?.answer(), false);
        write(pipe, "a");
        write(pipe, "b");
        assert.equal(parallel.next(60_000), undefined);
        assert.equal(parallel.doorbells?.answer(), true);
        assert.deepEqual([told, parallel.doorbells?.answer(true)], [1, false]);
        write(pipe, "c");
        assert.deepEqual([parallel.doorbells?.answer(true), told], [true, 2]);
      }
      write(pipe, "d");
      assert.deepEqual([parallel.doorbells?.answer(true), told], [false, 2]);
    }),
);

kvmTest(
  "a guest that never leaves hears of what comes before its slice is over",
  [],
  () =>
    withPipe(async (pipe, path) => {
      // Slices that no test waits for.
      using machine = guest({ sliceMs: 3_600_000 });
      // again: cmp byte [0x3000], 0; je again; out 0x10, al
      const vcpu = real(machine, [0x80, 0x3e, 0x00, 0x30, 0x00, 0x74, 0xf9, 0xe6, 0x10]);
      using _watch = machine.readable(pipe.fd, () => machine.memory.write(0x3000n, Uint8Array.of(1)));
      const child = new Deno.Command("sh", { args: ["-c", `sleep 0.2; echo x > ${path}`] }).spawn();
      expectExit(vcpu, "io-out");
      await child.status;
    }),
);
