/** Going back in a run that QEMU recorded. */
import "../src/host/preload.ts";
import assert from "node:assert/strict";
import { gdb, has } from "./gdb_programs.ts";
import {
  flat,
  type GuestMachine,
  gva,
  hosts,
  InputError,
  open,
  type Stop,
  UnsupportedError,
} from "../mod.ts";

const qemu = (await hosts()).find((host) => host.backend === "qemu");
const ignore = qemu?.usable !== true;
if (qemu?.usable === false) console.log(`skipped: going back: ${qemu.reason}`);

/**
 * In real mode at 0x1000: inc ax; mov [0x2000], ax; cmp ax, 40; jne 0x1000; then the same with what is read from the
 * serial port: mov dx, 0x3fd; in al, dx; test al, 1; jz; mov dx, 0x3f8; in al, dx; mov [0x2002], al; then cli; hlt.
 */
const CODE = Uint8Array.fromHex("40a3002083f82875f7" + "bafd03eca80174fb" + "baf803eca20220" + "faf4");
const OPTIONS = { backend: "qemu", memory: 1 << 20, boot: flat(CODE, { at: 0x1000 }) } as const;
/** Behind the loop of 40 rounds of 4 instructions. */
const LOOP_END = 160;

/** Records a run to its HLT; "x" is typed when it asks for it. */
async function recorded(body: (replay: string) => Promise<void>): Promise<void> {
  const record = await Deno.makeTempDir();
  try {
    await using vm = await open({ ...OPTIONS, record });
    await assert.rejects(() => vm.history.stepBack(), UnsupportedError);
    await vm.breakpoints.add(gva(0x1009n));
    assert.equal((await vm.continue()).kind, "breakpoint");
    await vm.console.send("x");
    assert.equal((await vm.continue()).kind, "halt");
    assert.equal(await vm.memory.readUint(0x2002n, 1), 0x78n);
    await vm.close();
    await body(record);
  } finally {
    await Deno.remove(record, { recursive: true });
  }
}

const ax = async (vm: GuestMachine) => Number((await vm.vcpus[0].registers()).rax & 0xffffn);

Deno.test({
  name: "history: a recorded run is stepped and continued backwards, and forwards again",
  ignore,
  fn: () =>
    recorded(async (replay) => {
      await using vm = await open({ ...OPTIONS, replay });
      const { history } = vm;
      assert.deepEqual([history.position, history.start], [0, 0]);
      await assert.rejects(() => vm.reset(), UnsupportedError);
      const loop = await vm.breakpoints.add(gva(0x1001n));
      for (let round = 1; round <= 3; round++) {
        assert.equal((await vm.continue()).kind, "breakpoint");
        assert.equal(await ax(vm), round);
        assert.equal(history.position, 4 * (round - 1) + 1);
      }
      // By single steps, and forwards again.
      assert.equal((await history.stepBack()).rip, 0x1000n);
      assert.equal(await ax(vm), 2);
      assert.equal((await history.stepBack(3)).rip, 0x1001n);
      assert.equal(history.position, 5);
      assert.equal((await vm.step()).rip, 0x1004n);
      assert.equal(await vm.memory.readUint(0x2000n, 2), 2n);

      // To the breakpoints on the way, whose last hit is the one behind which it stands.
      let stop = await history.continueBack();
      assert.deepEqual([stop.kind, history.position], ["breakpoint", 5]);
      stop = await history.continueBack();
      assert.deepEqual([stop.kind, history.position, await ax(vm)], ["breakpoint", 1, 1]);
      stop = await history.continueBack();
      assert.deepEqual([stop.kind, history.position, stop.rip], ["step", 0, 0x1000n]);
      assert.equal(await vm.memory.readUint(0x2000n, 2), 0n);
      await loop.remove();

      // A condition, from the end of the loop.
      assert.equal((await history.goto(LOOP_END)).rip, 0x1009n);
      assert.equal(await ax(vm), 40);
      const seventh = await vm.breakpoints.add(gva(0x1004n), {
        condition: ({ registers }) => (registers.rax & 0xffffn) === 7n,
      });
      stop = await history.continueBack();
      assert.deepEqual([stop.kind, history.position, await ax(vm)], ["breakpoint", 26, 7]);
      await seventh.remove();

      // What was typed comes again, to the recording's end.
      stop = await vm.continue();
      assert.match(stop.kind === "fault" ? stop.reason : stop.kind, /recording ends/);
      assert.equal(history.position, history.end);
      assert.equal(await vm.memory.readUint(0x2002n, 1), 0x78n);
      await vm.breakpoints.add(gva(0x2002n), { access: "write", size: 1 });
      stop = await history.continueBack();
      assert.deepEqual([stop.kind, stop.rip], ["watchpoint", 0x1018n]);
      assert.equal((await history.stepBack()).rip, 0x1015n);
      assert.equal(await vm.memory.readUint(0x2002n, 1), 0n);
      await assert.rejects(() => history.goto(history.end + 1), InputError);
    }),
});

Deno.test({
  name: "history: a watchpoint is met at every write on the way back, and forwards again",
  ignore,
  fn: () =>
    recorded(async (replay) => {
      await using vm = await open({ ...OPTIONS, replay });
      await vm.breakpoints.add(gva(0x2000n), { access: "write", size: 2 });
      await vm.history.goto(LOOP_END);
      const rounds = Array.from({ length: 40 }, (_, round) => `watchpoint ${4 * round + 2}`);
      const met = async (how: () => Promise<Stop>) => {
        const stops: string[] = [];
        for (const _ of rounds) stops.push(`${(await how()).kind} ${vm.history.position}`);
        return stops;
      };
      assert.deepEqual(await met(() => vm.history.continueBack()), rounds.toReversed());
      assert.equal((await vm.history.continueBack()).kind, "step");
      assert.deepEqual(await met(() => vm.continue()), rounds);
    }),
});

/** Bytes behind the first one of an event, where it has any (QEMU 7.2's replay/replay-internal.h): times, counts. */
const EVENT_BYTES: Readonly<Record<number, number>> = { 0: 4, 3: 8, 4: 8, 22: 8, 28: 8, 29: 8 };
const LOG_HEADER = 12;
const INSTRUCTIONS = 0;
const WARP_START = 30;
const RESET = 38;

/**
 * The log with an event in it that nobody takes, a reset's, where the guest stood while it was recorded: behind
 * instructions that the start of idle time follows. Undefined if it is no log of 7.2's.
 */
function withStuckEvent(log: Uint8Array): Uint8Array | undefined {
  for (let at = LOG_HEADER; at < log.length;) {
    const kind = log[at];
    at += 1 + (EVENT_BYTES[kind] ?? 0);
    if (kind === INSTRUCTIONS && log[at] === WARP_START) {
      return Uint8Array.of(...log.subarray(0, at), RESET, ...log.subarray(at));
    }
  }
  return undefined;
}

Deno.test({
  name: "history: a replay that QEMU does not go on with is told, and can be gone back in",
  ignore,
  fn: () =>
    recorded(async (replay) => {
      const stuck = withStuckEvent(await Deno.readFile(`${replay}/log`));
      if (stuck === undefined) return console.log("skipped: this QEMU's log is another one than 7.2's");
      await Deno.writeFile(`${replay}/log`, stuck);
      await using vm = await open({ ...OPTIONS, replay });
      const stop = await vm.continue();
      assert.match(stop.kind === "fault" ? stop.reason : stop.kind, /does not go on at instruction 1\d\d:/);
      assert.equal((await vm.history.goto(5)).rip, 0x1001n);
      assert.equal(await ax(vm), 2);
    }),
});

Deno.test({
  name: "history: gdb goes back by its own commands",
  ignore: ignore || !has("gdb"),
  fn: () =>
    recorded(async (replay) => {
      await using vm = await open({ ...OPTIONS, replay });
      await using server = await vm.gdbServer();
      const output = await gdb(server.address, [
        "break *0x1004",
        "continue",
        "continue",
        "continue",
        "print $ax",
        "reverse-continue",
        "print $ax",
        "reverse-stepi",
        "print/x $pc",
        "stepi",
        "print/x $pc",
        "delete",
        "reverse-continue",
        "print/x $pc",
      ]);
      assert.match(output, /\$1 = 3[^]*\$2 = 2[^]*\$3 = 0x1001[^]*\$4 = 0x1004[^]*\$5 = 0x1000/, output);
      assert.match(output, /No more reverse-execution history/, output);
    }),
});

Deno.test({
  name: "history: the shell records, and goes back",
  ignore,
  async fn() {
    const folder = await Deno.makeTempDir();
    const kernel = new URL("../fixtures/elf64.bin", import.meta.url).pathname;
    const hvsh = async (how: string, ...commands: string[]) => {
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", "--no-check", new URL("../src/repl/main.ts", import.meta.url).pathname],
          ...["--backend", "qemu", how, `${folder}/run`, "-m", "16", "-kernel", kernel],
          ...commands.flatMap((command) => ["-c", command]),
        ],
        stdin: "null",
      }).output();
      const text = new TextDecoder();
      return text.decode(stdout) + text.decode(stderr);
    };
    try {
      await hvsh("--record", "stepi 20");
      const output = await hvsh(
        "--replay",
        ...["stepi 10", "reverse-stepi 4", "rs 3", "stepi 7", "rsi", "reverse-step", "break *outer", "rc"],
        ...["delete", "reverse-continue", "info capabilities"],
      );
      const stands = [...output.matchAll(/^=> 0x([0-9a-f]+)/gm)].map(([, at]) => at.slice(-2)).join(" ");
      assert.equal(stands, "3e 2e 0e 3e 3d 36 2a 00", output);
      assert.match(output, /No more reverse-execution history/, output);
      assert.match(output, /history +yes .*rr=replay/, output);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "history: what QEMU can't record is refused, and so is what is no recording",
  ignore,
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      for (const odd of [{ cpus: 2 }, { accelerator: "kvm" as const }]) {
        await assert.rejects(() => open({ ...OPTIONS, ...odd, record: folder }), UnsupportedError);
      }
      await assert.rejects(() => open({ ...OPTIONS, record: folder, replay: folder }), InputError);
      await assert.rejects(() => open({ ...OPTIONS, replay: folder }), /no whole recording/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "history: a QEMU that is gone leaves no whole recording, and closing works",
  ignore,
  async fn() {
    const record = await Deno.makeTempDir();
    try {
      const vm = await open({ ...OPTIONS, record });
      await vm.step(3);
      vm.monitor!.execute("quit");
      const answers = () => {
        try {
          return vm.monitor!.execute("query-status") !== undefined;
        } catch {
          return false;
        }
      };
      while (answers()) await new Promise((resolve) => setTimeout(resolve, 5));
      await vm.close();
      await assert.rejects(() => open({ ...OPTIONS, replay: record }), /no whole recording/);
    } finally {
      await Deno.remove(record, { recursive: true });
    }
  },
});

Deno.test("history: backends without one say so", async () => {
  await using vm = await open({ backend: "fake", boot: flat(CODE, { at: 0x1000 }) });
  assert.equal(vm.history.usable, false);
  await assert.rejects(() => vm.history.continueBack(), { name: "UnsupportedError", message: /only QEMU/ });
  await assert.rejects(() => open({ backend: "fake", record: "x" }), InputError);
});
